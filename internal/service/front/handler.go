package front

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/service"
	"vmsync/internal/ui"
)

// Bounds of requests.
const (
	maxBody  = 64 << 10 // bytes
	mostRuns = 10_000
	someRuns = 50 // without a limit
)

// Handler answers requests with what a service says.
type Handler struct {
	Service *service.Service
	Log     *slog.Logger
}

// mux has the paths.
func (h *Handler) mux() http.Handler {
	m := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			answer, err := f(r)
			if err != nil {
				h.refuse(w, r, err)
				return
			}
			h.answer(w, http.StatusOK, answer)
		})
	}
	handle("GET /v1/status", func(r *http.Request) (any, error) { return h.Service.Status(r.Context()) })
	handle("GET /v1/machines", func(r *http.Request) (any, error) {
		s, err := h.Service.Status(r.Context())
		if err != nil {
			return nil, err
		}
		return s.Machines, nil
	})
	handle("GET /v1/machines/{name}", func(r *http.Request) (any, error) {
		return h.Service.Machine(r.Context(), source(r), r.PathValue("name"))
	})
	handle("GET /v1/machines/{name}/runs", h.runs)
	handle("POST /v1/machines/{name}/pause", h.pause)
	handle("POST /v1/machines/{name}/resume", func(r *http.Request) (any, error) {
		changed, err := h.Service.Resume(r.Context(), source(r), r.PathValue("name"))
		return api.Changed{Changed: changed}, err
	})
	handle("POST /v1/reload", func(r *http.Request) (any, error) { return struct{}{}, h.Service.Reload(r.Context()) })
	m.HandleFunc("POST /v1/machines/{name}/sync", h.sync)
	handle("GET /v1/runs", h.lastRuns)
	m.HandleFunc("GET /v1/events", h.events)
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		h.refuse(w, r, &api.Error{Kind: api.KindBadRequest, Message: r.Method + " " + r.URL.Path + ": there is no such thing", Hint: "docs/API.md lists what there is"})
	})
	return guarded(m, h)
}

// guarded lets only those through who may use the API.
func guarded(next http.Handler, h *Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, judged := r.Context().Value(peerKey{}).(verdict)
		if !judged {
			v.err = errUnknownPeer
		}
		if v.err != nil {
			h.refuse(w, r, &api.Error{Kind: api.KindDenied, Message: v.err.Error()})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// source is which source's machine is meant; empty where only one has it.
func source(r *http.Request) string { return r.URL.Query().Get("source") }

func (h *Handler) runs(r *http.Request) (any, error) {
	limit, err := number(r, "limit", someRuns, 1, mostRuns)
	if err != nil {
		return nil, err
	}
	runs, err := h.Service.Runs(r.Context(), source(r), r.PathValue("name"), limit)
	if err == nil && runs == nil {
		return []struct{}{}, nil
	}
	return runs, err
}

func (h *Handler) pause(r *http.Request) (any, error) {
	var req api.PauseRequest
	if err := body(r, &req); err != nil {
		return nil, err
	}
	changed, err := h.Service.Pause(r.Context(), source(r), r.PathValue("name"), req.Reason)
	return api.Changed{Changed: changed}, err
}

// body reads a request's body, which may be empty. What it does not know it refuses: it
// would not do what was asked for.
func body(r *http.Request, into any) error {
	if r.ContentLength == 0 {
		return nil
	}
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return &api.Error{Kind: api.KindBadRequest, Message: "the request cannot be read: " + err.Error()}
	}
	return nil
}

// sync passes the events of a run on, one JSON object to a line.
func (h *Handler) sync(w http.ResponseWriter, r *http.Request) {
	var req api.SyncRequest
	if err := body(r, &req); err != nil {
		h.refuse(w, r, err)
		return
	}
	if req.Full && req.Resync || req.MinChanged < 0 {
		h.refuse(w, r, &api.Error{Kind: api.KindBadRequest, Message: "full and resync exclude each other, and min_changed is not negative"})
		return
	}
	f, err := h.Service.Sync(r.Context(), source(r), r.PathValue("name"), req)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	if err := out.Flush(); err != nil {
		return
	}
	for {
		e, more := f.Next(r.Context())
		if !more {
			return
		}
		line, err := ui.EncodeJSON(e, time.Now())
		if err != nil || line == nil {
			continue
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return // nobody reads any more; the run goes on
		}
		if err := out.Flush(); err != nil {
			return
		}
	}
}

// refuse answers with an error.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*api.Error](err)
	if !ok {
		if errors.Is(err, context.Canceled) {
			return // whoever asked has gone
		}
		h.Log.Error("a request failed", "request", r.Method+" "+r.URL.Path, "error", err)
		e = &api.Error{Kind: "other", Message: err.Error()}
	}
	status := map[string]int{
		api.KindUnknownMachine: http.StatusNotFound, api.KindAmbiguous: http.StatusConflict, api.KindPaused: http.StatusConflict,
		api.KindStopping: http.StatusServiceUnavailable, api.KindBadConfig: http.StatusUnprocessableEntity,
		api.KindDenied: http.StatusForbidden, api.KindBadRequest: http.StatusBadRequest,
	}[e.Kind]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	h.answer(w, status, e)
}

func (h *Handler) answer(w http.ResponseWriter, status int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // who does not read it does not miss it
}
