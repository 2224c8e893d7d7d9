package chain

import (
	"crypto/x509"
)

// Store is a trust store: the certificates that paths may end in. Stores are keyed by the certificates themselves: two
// CAs may have one name.
type Store struct {
	name    string
	pool    pool
	anchors map[string]*Anchor // by DER
}

// Anchor is a certificate of a Store, with what holds for paths that end in it.
type Anchor struct {
	Certificate *Certificate

	// MIC marks an issuer of manufacturers' certificates: with the usage MIC, signatures below it may use SHA-1.
	MIC bool
	// Partial makes it an anchor although it is not self-signed.
	Partial bool
	// MinRSABits is the least length of RSA keys in paths that end here, in place of the Verifier's; 0 leaves that.
	// Values below 1024 count as 1024.
	MinRSABits int
}

// NewStore returns a store of plain anchors. Certificates that do not parse are kept for explanations only.
func NewStore(certs ...*Certificate) *Store {
	s := &Store{anchors: make(map[string]*Anchor, len(certs))}
	for _, c := range certs {
		s.Add(Anchor{Certificate: c})
	}
	return s
}

// NewStoreX509 returns a store of plain anchors.
func NewStoreX509(certs []*x509.Certificate) *Store { return NewStore(OfAll(certs)...) }

// Add adds an anchor. One that is there already takes the new settings. It must not be called while paths are verified.
func (s *Store) Add(a Anchor) {
	key := string(a.Certificate.raw)
	if s.anchors == nil {
		s.anchors = map[string]*Anchor{}
	}
	if _, ok := s.anchors[key]; !ok {
		s.pool.add(a.Certificate)
	}
	s.anchors[key] = &a
}

// Named sets how remedies call the store, "the trust store" by default: "adcs.ca_file (/etc/callsign/adcs-ca.pem)",
// "CAPF-trust of cucm-pub". It returns s.
func (s *Store) Named(name string) *Store {
	s.name = name
	return s
}

// Len returns the number of certificates in the store.
func (s *Store) Len() int {
	if s == nil {
		return 0
	}
	return len(s.anchors)
}

// Certificates returns the certificates of the store in the order in which they were added.
func (s *Store) Certificates() []*Certificate {
	if s == nil {
		return nil
	}
	return append([]*Certificate(nil), s.pool.all...)
}

// String returns the name that remedies use.
func (s *Store) String() string {
	if s == nil || s.name == "" {
		return "the trust store"
	}
	return s.name
}

// find returns the anchor that is this very certificate, nil for none.
func (s *Store) find(c *Certificate) *Anchor {
	if s == nil {
		return nil
	}
	return s.anchors[string(c.raw)]
}

// pool finds certificates by subject and by key identifier.
type pool struct {
	all       []*Certificate
	bySubject map[string][]*Certificate
	byKeyID   map[string][]*Certificate
	seen      map[string]struct{} // by DER, of addOnce
}

// addOnce adds a certificate unless it is there.
func (p *pool) addOnce(c *Certificate) {
	if p.seen == nil {
		p.seen = map[string]struct{}{}
	}
	if _, ok := p.seen[string(c.raw)]; ok {
		return
	}
	p.seen[string(c.raw)] = struct{}{}
	p.add(c)
}

func (p *pool) add(c *Certificate) {
	p.all = append(p.all, c)
	if p.bySubject == nil {
		p.bySubject, p.byKeyID = map[string][]*Certificate{}, map[string][]*Certificate{}
	}
	p.bySubject[c.subject] = append(p.bySubject[c.subject], c)
	if c.x != nil && len(c.x.SubjectKeyId) > 0 {
		id := string(c.x.SubjectKeyId)
		p.byKeyID[id] = append(p.byKeyID[id], c)
	}
}
