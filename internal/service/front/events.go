package front

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"vmsync/internal/api"
)

// writeAtMost is how long a listener may take nothing before its connection is closed.
const writeAtMost = 30 * time.Second

// number reads a number of a request's query, which may be missing.
func number(r *http.Request, key string, missing, least, most int) (int, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, &api.Error{Kind: api.KindBadRequest, Message: key + " " + strconv.Quote(text) + " is not a number from " +
			strconv.Itoa(least) + " to " + strconv.Itoa(most)}
	}
	return n, nil
}

// events passes on what happens, one JSON object to a line, until one of both ends.
func (h *Handler) events(w http.ResponseWriter, r *http.Request) {
	last, err := number(r, "last", 0, 0, 1000)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	l := h.Service.Listen(last, r.URL.Query().Get("after"))
	defer l.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := http.NewResponseController(w)
	send := func(e api.Event) error {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if err := out.SetWriteDeadline(time.Now().Add(writeAtMost)); err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
		return out.Flush()
	}
	// At once, so that who listens knows that it does.
	for err := send(heartbeat()); err == nil; {
		quiet, cancel := context.WithTimeout(r.Context(), api.HeartbeatEvery)
		e, more := l.Next(quiet)
		beat := quiet.Err() != nil && r.Context().Err() == nil
		cancel()
		switch {
		case more:
			err = send(e)
		case beat:
			err = send(heartbeat())
		default:
			return
		}
	}
}

func heartbeat() api.Event { return api.Event{Event: api.EventHeartbeat, Time: time.Now().Round(0)} }

// lastRuns lists the last runs of every machine.
func (h *Handler) lastRuns(r *http.Request) (any, error) {
	limit, err := number(r, "limit", 10, 1, 100)
	if err != nil {
		return nil, err
	}
	return h.Service.LastRuns(r.Context(), limit)
}
