package purpose

import (
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Product is what runs on a node.
type Product string

// The products.
const (
	CUCM Product = "cucm" // the call manager
	IMP  Product = "imp"  // the IM and Presence service
)

// KeyType is the kind of a key.
type KeyType string

// The kinds of keys.
const (
	RSA KeyType = "RSA"
	EC  KeyType = "EC"
)

// Where says which nodes have a certificate.
type Where string

// The places.
const (
	All         Where = "all"         // every node of the products
	Publisher   Where = "publisher"   // the publisher only
	CallManager Where = "callmanager" // nodes with the service Cisco CallManager
	TVS         Where = "tvs"         // nodes with the service Cisco Trust Verification Service
)

// The services whose nodes Where means.
const (
	ServiceCallManager = "Cisco CallManager"
	ServiceTVS         = "Cisco Trust Verification Service"
)

// Profile chooses the key usage of requests by release.
type Profile string

// The profiles. Their difference is keyEncipherment, and clientAuth of CAPF.
const (
	Profile15  Profile = "15" // the default
	Profile125 Profile = "12.5"
	Profile11  Profile = "11" // as 12.5, with keyAgreement
)

// Profiles returns the profiles, the default first.
func Profiles() []Profile { return []Profile{Profile15, Profile125, Profile11} }

// Identity is a purpose of identity certificates.
type Identity struct {
	Name        string    // "tomcat", "CallManager-ECDSA"
	Key         KeyType   // of its certificates
	Trust       string    // the store of its issuers; empty for none
	Products    []Product // that have it
	Nodes       Where     // that have it
	CSR         bool      // it can be signed by a CA; otherwise it is always self-signed
	MultiServer bool      // one certificate may serve all nodes
	CA          bool      // it issues certificates itself, with a path length of 0
	SelfSigned  int       // years a self-signed one is valid
	InCTL       bool      // phones find it in the certificate trust list
	InITL       bool      // phones find it in the identity trust list
	CTLUpdate   bool      // in mixed mode the trust list has to be written anew when it changes
	PhonesReset bool      // phones have to be reset when it changes
	NeverWith   []string  // purposes that must not change before phones are back
	Confirm     []string  // what has to hold before it changes: "sso-disabled"
	After       []string  // what has to be done afterwards: "sso-enable"

	cn, cnMulti string
	ku          map[Product]map[string][]string
	eku         map[string][]string
	restart     map[string][]Restart
}

// Restart is a service that has to be restarted.
type Restart struct {
	Service string // "Cisco Tomcat"
	Scope   string // "all", "running" (nodes that run it) or "publisher"
	Via     string // "cli" (utils service restart only) or "serviceability" (the pages of that name as well)
	Group   string // of the pages: "network" or "feature" services
	When    string // empty: always; else the condition: "sso", "sip-oauth", "imp"
	Auto    bool   // the release restarts it by itself
}

// Mode is how a certificate was made, which decides what to restart.
type Mode string

// The modes.
const (
	CASigned   Mode = "ca-signed"
	SelfSigned Mode = "self-signed"
	Guide14    Mode = "guide-14" // what the guides of release 14 and later say instead
)

// What names end in.
const (
	trustSuffix = "-trust"
	ecdsaSuffix = "-ECDSA"
)

// formatVersion is the format of table.json that this package reads.
const formatVersion = 1

// Store is a trust store.
type Store struct {
	Name          string   // "tomcat-trust"
	UsedFor       string   // in a few words
	Replicated    bool     // what is uploaded on one node is on all of them
	PublisherOnly bool     // uploads and deletions on the publisher only
	Restart       []string // services to restart when something was deleted
}

//go:embed table.json
var table []byte

var identities, stores = read()

// row is a line of table.json.
type row struct {
	Purpose     string          `json:"purpose"`
	KeyType     KeyType         `json:"keyType"`
	Trust       *string         `json:"trust"`
	Products    []Product       `json:"products"`
	Nodes       Where           `json:"nodes"`
	CSR         bool            `json:"csr"`
	MultiServer bool            `json:"multiServer"`
	CN          string          `json:"cn"`
	CNMulti     string          `json:"cnMulti"`
	KU          map[string]list `json:"ku"`
	KUImp       map[string]list `json:"kuImp"`
	EKU         json.RawMessage `json:"eku"`
	CA          bool            `json:"ca"`
	SelfSigned  int             `json:"selfSignedYears"`
	InCTL       bool            `json:"inCTL"`
	InITL       bool            `json:"inITL"`
	CTLUpdate   bool            `json:"ctlUpdate"`
	PhonesReset bool            `json:"phonesReset"`
	NeverWith   []string        `json:"never_with"`
	Confirm     []string        `json:"confirm"`
	After       []string        `json:"after"`
	Restart     map[string][]struct {
		Service string `json:"service"`
		Scope   string `json:"scope"`
		Via     string `json:"via"`
		Group   string `json:"group"`
		When    string `json:"when"`
		Auto    bool   `json:"auto"`
	} `json:"restart"`
}

type list []string

// read takes the table apart. A table that does not parse is a fault of this program.
func read() ([]Identity, []Store) {
	var file struct {
		Format   int   `json:"format"`
		Identity []row `json:"identity"`
		Trust    []struct {
			Store         string   `json:"store"`
			UsedFor       string   `json:"usedFor"`
			Replicated    bool     `json:"replicated"`
			PublisherOnly bool     `json:"publisherOnly"`
			Restart       []string `json:"restartAfterDelete"`
		} `json:"trust"`
	}
	if err := json.Unmarshal(table, &file); err != nil || file.Format != formatVersion {
		panic(fmt.Sprintf("purpose: table.json: format %d: %v", file.Format, err))
	}
	var ids []Identity
	for i := range file.Identity {
		ids = append(ids, file.Identity[i].identity())
	}
	var all []Store
	for _, s := range file.Trust {
		all = append(all, Store{Name: s.Store, UsedFor: s.UsedFor, Replicated: s.Replicated, PublisherOnly: s.PublisherOnly, Restart: s.Restart})
	}
	return ids, all
}

func (r *row) identity() Identity {
	p := Identity{
		Name: r.Purpose, Key: r.KeyType, Products: r.Products, Nodes: r.Nodes, CSR: r.CSR, MultiServer: r.MultiServer, CA: r.CA,
		SelfSigned: r.SelfSigned, InCTL: r.InCTL, InITL: r.InITL, CTLUpdate: r.CTLUpdate, PhonesReset: r.PhonesReset,
		NeverWith: r.NeverWith, Confirm: r.Confirm, After: r.After, cn: r.CN, cnMulti: r.CNMulti,
		ku: map[Product]map[string][]string{CUCM: {}, IMP: {}}, eku: map[string][]string{}, restart: map[string][]Restart{},
	}
	if r.Trust != nil {
		p.Trust = *r.Trust
	}
	for profile, bits := range r.KU {
		p.ku[CUCM][profile], p.ku[IMP][profile] = bits, bits
	}
	for profile, bits := range r.KUImp {
		p.ku[IMP][profile] = bits
	}
	var one []string
	if json.Unmarshal(r.EKU, &one) == nil {
		p.eku[string(Profile15)], p.eku[string(Profile125)] = one, one
	} else if err := json.Unmarshal(r.EKU, &p.eku); err != nil {
		panic(fmt.Sprintf("purpose: table.json: eku of %s: %v", r.Purpose, err))
	}
	for mode, services := range r.Restart {
		for _, s := range services {
			p.restart[mode] = append(p.restart[mode], Restart(s))
		}
	}
	return p
}

// Identities returns all purposes, in the order of the table.
func Identities() []Identity { return slices.Clone(identities) }

// Stores returns all trust stores, in the order of the table.
func Stores() []Store { return slices.Clone(stores) }

// Find returns the purpose of this name. Case counts, as it does on a call manager.
func Find(name string) (*Identity, bool) {
	i := slices.IndexFunc(identities, func(p Identity) bool { return p.Name == name })
	if i < 0 {
		return nil, false
	}
	p := identities[i]
	return &p, true
}

// FindStore returns the trust store of this name.
func FindStore(name string) (*Store, bool) {
	i := slices.IndexFunc(stores, func(s Store) bool { return s.Name == name })
	if i < 0 {
		return nil, false
	}
	s := stores[i]
	return &s, true
}

// IsStore reports whether a name is that of a trust store by its form, known or not.
func IsStore(name string) bool { return strings.HasSuffix(name, trustSuffix) }

// On reports whether nodes of a product have the store: those that have one of its purposes, and for a store that belongs to
// no purpose those of the call manager.
func (s *Store) On(product Product) bool {
	of := slices.DeleteFunc(Identities(), func(p Identity) bool { return p.Trust != s.Name })
	if len(of) == 0 {
		return product == CUCM
	}
	return slices.ContainsFunc(of, func(p Identity) bool { return slices.Contains(p.Products, product) })
}

// Names returns the names of the purposes.
func Names() []string {
	var names []string
	for i := range identities {
		names = append(names, identities[i].Name)
	}
	return names
}

// StoreNames returns the names of the trust stores.
func StoreNames() []string {
	var names []string
	for i := range stores {
		names = append(names, stores[i].Name)
	}
	return names
}

// Services returns the names of the services that the table speaks of, sorted.
func Services() []string {
	names := []string{ServiceCallManager, ServiceTVS}
	for i := range identities {
		for _, restarts := range identities[i].restart {
			for _, r := range restarts {
				names = append(names, r.Service)
			}
		}
	}
	for i := range stores {
		names = append(names, stores[i].Restart...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Twin returns the name of the purpose with the other kind of key: tomcat and tomcat-ECDSA. It is empty for none.
func (p *Identity) Twin() string {
	twin, ok := strings.CutSuffix(p.Name, ecdsaSuffix)
	if !ok {
		twin += ecdsaSuffix
	}
	if _, known := Find(twin); !known {
		return ""
	}
	return twin
}

// File returns the name of the certificate's file on a node: "tomcat/tomcat.pem".
func (p *Identity) File() string { return p.Name + "/" + p.Name + ".pem" }

// CommonName returns the default common name on a node: host is its name, fqdn the name with the domain, domain what
// of the cluster. digits are the eight hexadecimal digits of a CAPF name; other purposes do not use them.
func (p *Identity) CommonName(host, fqdn, domain, digits string, multi bool) string {
	pattern := p.cn
	if multi {
		pattern = p.cnMulti
	}
	name := strings.NewReplacer("{fqdn}", fqdn, "{host}", host, "{domain}", domain, "{8 hex digits}", digits).Replace(pattern)
	return strings.TrimSuffix(name, ".") // a cluster without a domain
}

// KeyUsage returns the key usage of requests and of self-signed certificates; 0 for a purpose without.
func (p *Identity) KeyUsage(product Product, profile Profile) x509.KeyUsage {
	var bits x509.KeyUsage
	for _, name := range p.ku[product][string(profile.column())] {
		bits |= keyUsages[name]
	}
	if profile == Profile11 && bits != 0 && !p.CA {
		bits |= x509.KeyUsageKeyAgreement
	}
	return bits
}

// ExtKeyUsage returns the extended key usages of requests and of self-signed certificates.
func (p *Identity) ExtKeyUsage(profile Profile) []x509.ExtKeyUsage {
	var all []x509.ExtKeyUsage
	for _, name := range p.eku[string(profile.column())] {
		all = append(all, extKeyUsages[name])
	}
	return all
}

// column is the column of the table that a profile reads.
func (p Profile) column() Profile {
	if p == Profile11 {
		return Profile125
	}
	if p == "" {
		return Profile15
	}
	return p
}

// Restarts returns the services to restart when a certificate was made in this mode, in order.
func (p *Identity) Restarts(m Mode) []Restart { return slices.Clone(p.restart[string(m)]) }

var keyUsages = map[string]x509.KeyUsage{
	"digitalSignature": x509.KeyUsageDigitalSignature, "keyEncipherment": x509.KeyUsageKeyEncipherment,
	"dataEncipherment": x509.KeyUsageDataEncipherment, "keyAgreement": x509.KeyUsageKeyAgreement, "keyCertSign": x509.KeyUsageCertSign,
}

var extKeyUsages = map[string]x509.ExtKeyUsage{
	"serverAuth": x509.ExtKeyUsageServerAuth, "clientAuth": x509.ExtKeyUsageClientAuth, "ipsecEndSystem": x509.ExtKeyUsageIPSECEndSystem,
}
