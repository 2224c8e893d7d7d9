package certsrvtest

import (
	"fmt"
	"strings"
)

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
