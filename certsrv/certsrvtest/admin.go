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
//	GET  /behaviour                the words in force, as ParseScenario reads them
//	PUT  /behaviour                body as ParseScenario reads it, for the server and all templates without a behaviour of their own: 204; 400
//	PUT  /behaviour/{template}     body as ParseBehaviour reads it, for one template
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
	behave := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1024))
		if err == nil {
			err = s.behave(r.PathValue("template"), strings.TrimSpace(string(body)))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
	mux.HandleFunc("GET /behaviour", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := io.WriteString(w, s.Scenario().String()+"\n"); err != nil {
			s.log.Debug("answer not written", slog.Any("err", err))
		}
	})
	mux.HandleFunc("PUT /behaviour", behave)
	mux.HandleFunc("PUT /behaviour/{template}", behave)
	return mux
}

// behave sets the behaviour of one template, or of all and of the server.
func (s *Server) behave(template, words string) error {
	if template == "" {
		sc, err := ParseScenario(words)
		if err != nil {
			return err
		}
		return s.SetScenario(sc)
	}
	b, err := ParseBehaviour(words)
	if err != nil {
		return err
	}
	return s.SetBehaviour(template, b)
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
