package nbdproxy

import (
	"encoding/binary"
	"slices"
	"strings"
)

// contextQuery is the data of LIST_META_CONTEXT and SET_META_CONTEXT.
type contextQuery struct {
	export  string
	queries []string
}

func parseContextQuery(data []byte) (contextQuery, bool) {
	f := fields{rest: data}
	q := contextQuery{export: f.string()}
	for range f.uint32() {
		if f.bad {
			break
		}
		q.queries = append(q.queries, f.string())
	}
	return q, f.end()
}

// listContexts returns those of an export's contexts that match a query, all
// of them if there are no queries. A query that ends in a colon stands for all that
// begin with it: `base:`, `qemu:`, `qemu:dirty-bitmap:`. One that nobody here
// knows matches nothing and is no error.
func listContexts(contexts, queries []string) []string {
	if len(queries) == 0 {
		return contexts
	}
	var found []string
	for _, c := range contexts {
		if slices.ContainsFunc(queries, func(q string) bool {
			return q == c || strings.HasSuffix(q, ":") && strings.HasPrefix(c, q)
		}) {
			found = append(found, c)
		}
	}
	return found
}

// selectContexts returns those of an export's contexts that a query names. There
// are no wildcards: a client should know what it will be told.
func selectContexts(contexts, queries []string) []string {
	var found []string
	for _, c := range contexts {
		if slices.Contains(queries, c) {
			found = append(found, c)
		}
	}
	return found
}

// metaContext answers the two options about metadata contexts.
func (h *handshake) metaContext(id uint32, data []byte) {
	set := id == optSetMetaContext
	if set {
		h.contexts, h.contextsOf = nil, nil // even if the option fails
	}
	q, ok := parseContextQuery(data)
	if !ok {
		h.refuse(id, repErrInvalid, "malformed query for metadata contexts")
		return
	}
	if set && !h.structured {
		h.refuse(id, repErrInvalid, "metadata contexts need structured replies")
		return
	}
	x := findExport(h.srv.exports, q.export)
	if x == nil {
		h.refuse(id, repErrUnknown, "no export is named %q", q.export)
		return
	}
	found := listContexts(x.contexts, q.queries)
	if set {
		found = selectContexts(x.contexts, q.queries)
		if len(found) > maxContexts {
			h.refuse(id, repErrTooBig, "more than %d metadata contexts", maxContexts)
			return
		}
		h.contexts, h.contextsOf = found, x
	}
	for i, c := range found {
		n := 0 // an id means something only where contexts are selected
		if set {
			n = i
		}
		b := binary.BigEndian.AppendUint32(nil, uint32(n))
		h.reply(id, repMetaContext, append(b, c...))
	}
	h.ack(id)
}
