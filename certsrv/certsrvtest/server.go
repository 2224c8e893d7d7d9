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

// SetConditions replaces what the server is like, from the next request on; connections that are logged in stay so.
func (s *Server) SetConditions(c Conditions) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := s.cfg.canOffer(c.Auth); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conditions = c
	return nil
}

// SetScenario is [Server.SetConditions], and [Server.SetBehaviour] for all templates without a behaviour of their own.
func (s *Server) SetScenario(sc Scenario) error {
	if err := sc.check(); err != nil {
		return err
	}
	if err := s.SetConditions(sc.Conditions); err != nil {
		return err
	}
	return s.SetBehaviour("", sc.Behaviour)
}

// Scenario returns what SetScenario or the Config said last, as far as it concerns all templates.
func (s *Server) Scenario() Scenario {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Scenario{Behaviour: s.behaviour, Conditions: s.conditions}
}

// present are the conditions as of now.
func (s *Server) present() Conditions {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conditions
}

func (s *Server) lang() Lang {
	if l := s.present().Lang; l != "" {
		return l
	}
	return s.cfg.Lang
}

func (s *Server) standalone() bool { return s.cfg.Standalone || s.present().Standalone }

func (s *Server) epa(c Conditions) EPA {
	if c.EPA != "" {
		return c.EPA
	}
	return s.cfg.EPA
}

// schemes are the ways to log in that the server offers now.
func (s *Server) schemes(c Conditions) Schemes {
	if c.Auth != "" {
		return c.Auth
	}
	var names []string
	for _, o := range []struct {
		name    string
		offered bool
	}{{schemeNegotiate, s.cfg.Negotiate}, {schemeNTLM, s.cfg.NTLM}, {schemeBasic, s.cfg.Basic}} {
		if o.offered {
			names = append(names, o.name)
		}
	}
	return Schemes(strings.Join(names, "+"))
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
