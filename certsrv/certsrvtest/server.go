package certsrvtest

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated AD CS web enrollment server; [New] makes one. It is an http.Handler, but NTLM needs
// [Server.ConnContext] in the http.Server around it; [Server.Serve] does all that.
type Server struct {
	cfg    Config
	log    *slog.Logger
	iis    *iisLog
	db     *database
	closed chan struct{}

	kerberos *acceptor // nil without a keytab
	inFlight atomic.Int64

	mu         sync.Mutex
	conditions Conditions
	behaviour  Behaviour            // of templates without one
	behaviours map[string]Behaviour // by lower-case template name
	treated    map[string]int       // requests that a Behaviour with Times has had, by lower-case template name
	hits       map[string]int
	servers    []*http.Server

	closeOnce sync.Once
	randomMu  sync.Mutex
}

// New checks c, reads the state of earlier runs from its StateDir and returns a Server. It opens no socket. The Server
// keeps c's slices: do not change them.
func New(c Config) (*Server, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("simulated AD CS: %w", err)
	}
	c.setDefaults()
	db, err := openDatabase(c.StateDir, c.FirstRequestID)
	if err != nil {
		return nil, fmt.Errorf("simulated AD CS: %w", err)
	}
	s := &Server{
		cfg: c, log: c.Log, db: db, closed: make(chan struct{}),
		iis:       &iisLog{w: c.IISLog, dir: c.LogDir},
		behaviour: c.Behaviour, conditions: c.Conditions, behaviours: map[string]Behaviour{}, treated: map[string]int{}, hits: map[string]int{},
	}
	if len(c.Keytab) > 0 {
		if s.kerberos, err = newAcceptor(c.Keytab, s.read); err != nil {
			return nil, errors.Join(fmt.Errorf("simulated AD CS: %w", err), db.close())
		}
	}
	for _, t := range c.Templates {
		if !t.Behaviour.IsZero() {
			s.behaviours[strings.ToLower(t.Name)] = t.Behaviour
		}
	}
	return s, nil
}

func (c *Config) setDefaults() {
	chains := c.CA.Certificates()
	if c.CAName == "" {
		c.CAName = chains[len(chains)-1][0].Subject.CommonName
	}
	if !c.Basic && !c.NTLM {
		c.NTLM = true
		c.Negotiate = c.Negotiate || len(c.Keytab) > 0
	}
	if c.EPA == "" {
		c.EPA = EPAOff
	}
	if c.Domain == "" {
		c.Domain = "LAB"
		for _, u := range c.Users {
			if d, _, ok := strings.Cut(u.Name, `\`); ok {
				c.Domain = strings.ToUpper(d)
				break
			}
		}
	}
	if c.DNSDomain == "" {
		c.DNSDomain = strings.ToLower(c.Domain) + ".test"
	}
	if c.Computer == "" {
		c.Computer = "CERTSRV"
	}
	if c.Lang == "" {
		c.Lang = English
	}
	if c.TextContentType == "" {
		c.TextContentType = "application/octet-stream"
	}
	if c.FirstRequestID <= 0 {
		c.FirstRequestID = 1
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

// Serve answers on l until [Server.Close] and then returns http.ErrServerClosed. With conf nil it speaks plain HTTP,
// otherwise TLS, and conf must hold a certificate. It closes l.
func (s *Server) Serve(l net.Listener, conf *tls.Config) error {
	srv := s.HTTPServer(conf)
	select {
	case <-s.closed:
		_ = l.Close()
		return http.ErrServerClosed
	default:
	}
	if conf == nil {
		return srv.Serve(l)
	}
	return srv.ServeTLS(l, "", "")
}

// Close breaks all connections, ends what hangs, and closes log and state files. The inspection methods go on working.
func (s *Server) Close() error {
	var err error
	s.closeOnce.Do(func() {
		close(s.closed)
		s.mu.Lock()
		servers := s.servers
		s.mu.Unlock()
		for _, srv := range servers {
			if e := srv.Close(); err == nil {
				err = e
			}
		}
		if e := s.iis.close(); err == nil {
			err = e
		}
		if e := s.db.close(); err == nil {
			err = e
		}
	})
	return err
}

// InFlight returns how many requests are being answered now, also those whose client has gone: a script goes on then.
func (s *Server) InFlight() int { return int(s.inFlight.Load()) }

// Hits returns how many requests each page has had, 401 answers included, by lower-case path ("/certsrv/certfnsh.asp"). The
// welcome page "/certsrv/" counts as "/certsrv". At most 64 different paths are counted.
func (s *Server) Hits() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.hits)
}

// template returns the template with this name in any case, or nil.
func (s *Server) template(name string) *Template {
	for i := range s.cfg.Templates {
		if t := &s.cfg.Templates[i]; strings.EqualFold(t.Name, name) {
			return t
		}
	}
	return nil
}

// read fills b from the configured source of randomness, which need not be safe for concurrent use.
func (s *Server) read(b []byte) error {
	s.randomMu.Lock()
	defer s.randomMu.Unlock()
	_, err := io.ReadFull(s.cfg.Random, b)
	return err
}

func (s *Server) now() time.Time { return s.cfg.Now() }
