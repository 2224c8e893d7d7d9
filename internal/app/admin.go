package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"callsign/internal/config"
	"callsign/internal/explain"
)

// SocketFile is the name of the socket, beside the database, on which a running server takes orders of the account that
// runs it and of root.
const SocketFile = "callsign.sock"

// Limits of the socket.
const (
	adminTimeout = 30 * time.Second // of an order: a reload reads files and asks nobody
	maxOrder     = 1 << 20          // bytes of an answer
	maxSocket    = 104              // bytes of a socket's path on the systems that allow least
)

// Faults of the way to a running server.
const (
	codeNotRunning = "app.not-running"
	codeSocket     = "app.admin-socket"
	codeAnswer     = "app.admin-answer"
)

// refusal is the answer to an order that was not carried out (RFC 9457, with our fields).
type refusal struct {
	Title    string         `json:"title"`
	Problems []explain.Part `json:"problems"`
}

// startAdmin listens on the socket. A server that cannot have one works all the same: signals reach it.
func (a *App) startAdmin(ctx context.Context) {
	path, err := socketPath(filepath.Dir(a.config.Store.Path))
	if err == nil {
		// The lock on the database says that nobody else serves here, so a socket that is there is one left behind.
		if err = os.Remove(path); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	var l net.Listener
	if err == nil {
		var lc net.ListenConfig
		if l, err = lc.Listen(ctx, "unix", path); err == nil {
			// Until here the mask of the process decides; the usual ones let nobody else write, and who cannot cannot connect.
			if err = os.Chmod(path, 0o600); err != nil {
				_ = l.Close()
			}
		}
	}
	if err != nil {
		a.log.WarnContext(ctx, "callsign reload will not reach this server", slog.String("code", codeSocket), slog.String("err", err.Error()),
			slog.String("remedy", "send SIGHUP to the process instead, or set store.path to a directory with a shorter name"))
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		done, err := a.Reload(r.Context())
		answer(w, done, err)
	})
	a.admin = &http.Server{Handler: mux, ReadTimeout: adminTimeout, WriteTimeout: adminTimeout, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	a.goRun("admin socket", func() error { return a.admin.Serve(l) })
}

// socketPath is the path of the socket in a directory, from the working directory where that is shorter.
func socketPath(dir string) (string, error) {
	path := filepath.Join(dir, SocketFile)
	if len(path) <= maxSocket {
		return path, nil
	}
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, path); err == nil && len(rel) <= maxSocket {
			return rel, nil
		}
	}
	return "", fmt.Errorf("the path %s is longer than the %d bytes that a socket may have", path, maxSocket)
}

// answer writes the result of an order.
func answer(w http.ResponseWriter, done any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusUnprocessableEntity
		done = refusal{Title: "The order was not carried out.", Problems: explain.Parts(err)}
	}
	body, err := json.Marshal(done)
	if err != nil { // nothing that is answered has such values
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // who asked is gone, or gets it
}

// AskReload tells the server that runs with the database of c to read its configuration anew. The errors are
// *Problem: no server runs, it cannot be asked, or it says why it goes on with what it had.
func AskReload(ctx context.Context, c *config.Config) (*Reloaded, error) {
	done := new(Reloaded)
	return done, order(ctx, c, "/reload", done)
}

// err is the refusal as the errors that it was made of.
func (r refusal) err() error {
	var errs []error
	for _, p := range r.Problems {
		e := &Problem{ErrCode: p.Code, Detail: p.Error, Fix: p.Fix}
		if p.Cause != "" {
			e.Detail += ": " + p.Cause
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// order sends an order over the socket and reads the answer into done.
func order(ctx context.Context, c *config.Config, path string, done any) error {
	socket, err := socketPath(filepath.Dir(c.Store.Path))
	if err != nil {
		return &Problem{ErrCode: codeSocket, Detail: err.Error(), Fix: "send SIGHUP to the server instead: kill -HUP PID"}
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://callsign"+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Problem{
			ErrCode: codeNotRunning, Detail: "no server runs with the database " + c.Store.Path, Err: err,
			Fix: "start it with callsign serve, or name its configuration with --config",
		}
	case errors.Is(err, fs.ErrPermission):
		return &Problem{
			ErrCode: codeSocket, Detail: "the server at " + socket + " takes orders of its own account only", Err: err,
			Fix: "run this command as the account that callsign serve runs as, or as root",
		}
	case err != nil:
		return &Problem{ErrCode: codeAnswer, Detail: "the running server did not answer", Err: err, Fix: "look at its log; send SIGHUP to it instead: kill -HUP PID"}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxOrder))
	if err == nil && response.StatusCode == http.StatusUnprocessableEntity {
		var no refusal
		if err = json.Unmarshal(body, &no); err == nil {
			return no.err()
		}
	}
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, bytes.TrimSpace(body))
	}
	if err == nil {
		err = json.Unmarshal(body, done)
	}
	if err != nil {
		return &Problem{ErrCode: codeAnswer, Detail: "the running server's answer cannot be read", Err: err, Fix: "use the program of the server's version: callsign version"}
	}
	return nil
}
