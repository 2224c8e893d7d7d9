package certsrvtest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
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

	mu         sync.Mutex
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
		behaviour: c.Behaviour, behaviours: map[string]Behaviour{}, treated: map[string]int{}, hits: map[string]int{},
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

type connKey struct{}

// ConnContext gives each connection its own login state. It is the ConnContext of an http.Server that runs s; without
// it NTLM logins fail as they do behind a load balancer that splits connections.
func (s *Server) ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, &connState{})
}

// HTTPServer returns an http.Server for s: HTTP/1.1 only, [Server.ConnContext] set, conf for its ServeTLS (nil: plain
// HTTP by Serve). [Server.Close] closes it too.
func (s *Server) HTTPServer(conf *tls.Config) *http.Server {
	if conf != nil {
		conf = conf.Clone()
		conf.NextProtos = []string{"http/1.1"}
	}
	srv := &http.Server{
		Handler:           s,
		ConnContext:       s.ConnContext,
		TLSConfig:         conf,
		TLSNextProto:      map[string]func(*http.Server, *tls.Conn, http.Handler){},
		ReadHeaderTimeout: time.Minute,
		IdleTimeout:       2 * time.Minute, // as IIS
		MaxHeaderBytes:    64 << 10,        // IIS: 16 KiB by default, tens of KiB where Kerberos tokens are large
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = append(s.servers, srv)
	return srv
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

// SetBehaviour replaces the behaviour of one template, or of all templates without one when template is empty, from the
// next request on; a count of Times starts anew.
func (s *Server) SetBehaviour(template string, b Behaviour) error {
	if err := b.check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(template)
	delete(s.treated, key)
	switch {
	case key == "":
		s.behaviour = b
	case s.template(key) == nil:
		return fmt.Errorf("no template %q", template)
	case b.IsZero():
		delete(s.behaviours, key)
	default:
		s.behaviours[key] = b
	}
	return nil
}

// Hits returns how many requests each page has had, 401 answers included, by lower-case path ("/certsrv/certfnsh.asp"). The
// welcome page "/certsrv/" counts as "/certsrv". At most 64 different paths are counted.
func (s *Server) Hits() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.hits)
}

// behaviourFor returns what happens to the next request of a template (lower case, empty on a standalone CA) and counts
// it.
func (s *Server) behaviourFor(template string) Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := template
	b, own := s.behaviours[key]
	if !own || template == "" {
		key, b = "", s.behaviour
	}
	if b.Times > 0 {
		s.treated[key]++
		if s.treated[key] > b.Times {
			return Behaviour{}
		}
	}
	return b
}

// rpcDown tells whether the whole CA is unreachable.
func (s *Server) rpcDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.behaviour.Answer == RPCDown && (s.behaviour.Times == 0 || s.treated[""] < s.behaviour.Times)
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
