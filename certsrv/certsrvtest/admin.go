package certsrvtest

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

// AdminHandler is the CA manager's side, for scripts and demonstrations. It has no login: serve it on a loopback listener
// of its own, never beside /certsrv.
//
//	GET  /requests                 every request, JSON {"items":[Record...],"total":N}
//	GET  /requests/{id}            one Record
//	POST /requests/{id}/approve    204; 404 unknown, 409 not pending, 502 when the CA failed
//	POST /requests/{id}/deny       204; 404, 409
//	GET  /behaviour                the words of Server.Scenario
//	PUT  /behaviour                body as ParseScenario reads it: replaces Server.Scenario; 204; 400 with the reason
//	PUT  /behaviour/{template}     body as ParseBehaviour reads it, for one template; 204; 400
//	GET  /words                    every Word, JSON
func (s *Server) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, _ *http.Request) {
		items := s.db.all()
		s.writeJSON(w, struct {
			Items []Record `json:"items"`
			Total int      `json:"total"`
		}{items, len(items)})
	})
	mux.HandleFunc("GET /requests/{id}", s.withID(func(w http.ResponseWriter, _ *http.Request, id int) {
		if rec, ok := s.Request(id); ok {
			s.writeJSON(w, rec)
			return
		}
		http.Error(w, "no such request", http.StatusNotFound)
	}))
	mux.HandleFunc("POST /requests/{id}/approve", s.withID(func(w http.ResponseWriter, r *http.Request, id int) {
		adminResult(w, s.Approve(r.Context(), id))
	}))
	mux.HandleFunc("POST /requests/{id}/deny", s.withID(func(w http.ResponseWriter, _ *http.Request, id int) {
		adminResult(w, s.Deny(id))
	}))
	mux.HandleFunc("GET /behaviour", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if _, err := io.WriteString(w, s.Scenario().String()+"\n"); err != nil {
			s.log.Debug("answer not written", slog.Any("err", err))
		}
	})
	mux.HandleFunc("PUT /behaviour", withWords(func(_ *http.Request, words string) error {
		sc, err := ParseScenario(words)
		if err != nil {
			return err
		}
		return s.SetScenario(sc)
	}))
	mux.HandleFunc("PUT /behaviour/{template}", withWords(func(r *http.Request, words string) error {
		b, err := ParseBehaviour(words)
		if err != nil {
			return err
		}
		return s.SetBehaviour(r.PathValue("template"), b)
	}))
	mux.HandleFunc("GET /words", func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, Words()) })
	return mux
}

// maxWords is more than all words together need.
const maxWords = 4096

func withWords(set func(r *http.Request, words string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWords))
		if err == nil {
			err = set(r, strings.TrimSpace(string(body)))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) withID(h func(http.ResponseWriter, *http.Request, int)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.Atoi(r.PathValue("id"))
		if err != nil {
			http.Error(w, "no such request", http.StatusNotFound)
			return
		}
		h(w, r, id)
	}
}

func (s *Server) writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.log.Debug("answer not written", slog.Any("err", err))
	}
}

func adminResult(w http.ResponseWriter, err error) {
	var st *statusError
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.As(err, &st) && st.code == eNoRequest:
		http.Error(w, err.Error(), http.StatusNotFound)
	case errors.As(err, &st) && st.code == eBadRequestStatus:
		http.Error(w, err.Error(), http.StatusConflict)
	default:
		http.Error(w, err.Error(), http.StatusBadGateway)
	}
}
