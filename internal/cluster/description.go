package cluster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"callsign/internal/cluster/purpose"
	"callsign/internal/explain"
)

// MaxDescription is the largest description of a cluster, in bytes: a node takes some hundred.
const MaxDescription = 1 << 20

// Cluster is the description of a cluster: what it is, not what certificates it has. The zero value describes none;
// Parse and Load return those that hold together.
type Cluster struct {
	Name      string `json:"name"`
	Domain    string `json:"domain"`    // DNS domain; may be empty
	Release   string `json:"release"`   // "15.0.1"
	MixedMode bool   `json:"mixedMode"` // cluster security mode 1
	SSO       bool   `json:"sso"`
	SIPOAuth  bool   `json:"sipOauth"`
	FIPS      bool   `json:"fips"`
	// PhoneInteraction is the enterprise parameter Phone Interaction on Certificate Update: "automatic" or "manual".
	PhoneInteraction string `json:"phoneInteractionOnCertificateUpdate"`
	Backup           Backup `json:"drf"`
	Nodes            []Node `json:"nodes"`
	Phones           Phones `json:"phones"`
}

// Backup is the state of the disaster recovery system.
type Backup struct {
	ActiveJob  bool      `json:"activeJob"`
	LastBackup time.Time `json:"lastBackup"` // zero: never, or not known
}

// Node is a server of a cluster.
type Node struct {
	Name     string          `json:"name"` // host name
	FQDN     string          `json:"fqdn"`
	Role     Role            `json:"role"`
	Product  purpose.Product `json:"product"`
	Services []string        `json:"services"` // that run and are activated
}

// Role is what a node is in its cluster.
type Role string

// The roles.
const (
	Publisher  Role = "publisher"
	Subscriber Role = "subscriber"
)

// Phones are the phones of a cluster, as whoever wrote the description counted them.
type Phones struct {
	Total       int            `json:"total"`
	Registered  int            `json:"registered"`
	Secure      int            `json:"secure"`
	LSCByIssuer map[string]int `json:"lscByIssuer"` // phones with an LSC, by the common name of its issuer
	ITLUnknown  int            `json:"itlUnknown"`  // phones whose trust list is not known to be valid
}

// Load reads the description in a file. Its errors are *Problem.
func Load(path string) (*Cluster, error) {
	f, err := os.Open(path) //nolint:gosec // the administrator names the file
	if err != nil {
		return nil, &Problem{
			ErrCode: CodeDescription, Detail: "the description " + path + " of a cluster cannot be read", Err: pathless(err),
			Fix: "check cluster.files in the configuration, and that the file is there and readable",
		}
	}
	defer f.Close() //nolint:errcheck // the file was only read
	data, err := io.ReadAll(io.LimitReader(f, MaxDescription+1))
	if err != nil {
		return nil, &Problem{ErrCode: CodeDescription, Detail: "the description " + path + " of a cluster cannot be read", Err: pathless(err), Fix: "check the file"}
	}
	c, err := Parse(data)
	if err != nil {
		return nil, &Problem{ErrCode: CodeDescription, Detail: path + ": " + err.Error(), Fix: "correct the file; docs/cluster.md has an example"}
	}
	return c, nil
}

// pathless is an error of the file system without the path, which the message has already.
func pathless(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// Parse reads a description in JSON. The names of the keys are those of the struct tags; a key that is none of them is an
// error, because it is probably one of them misspelt.
func Parse(data []byte) (*Cluster, error) {
	if len(data) > MaxDescription {
		return nil, fmt.Errorf("is larger than %d bytes", MaxDescription)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	c := new(Cluster)
	if err := d.Decode(c); err != nil {
		return nil, jsonError(data, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("line %d: something follows the description", lineAt(data, d.InputOffset()))
	}
	return c, c.validate()
}

// jsonError says where and why a description does not parse.
func jsonError(data []byte, err error) error {
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("line %d: %w", lineAt(data, e.Offset), err)
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("line %d: %s cannot be a JSON %s", lineAt(data, e.Offset), cmp.Or(e.Field, "the description"), e.Value)
	}
	if e, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("%q is no time: write it as 2026-11-19T02:00:00Z", e.Value)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("is cut off or empty")
	}
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		text := fmt.Sprintf("line %d: %s is no key of a description", lineAt(data, int64(bytes.Index(data, []byte(key)))), key)
		if near := explain.Closest(strings.Trim(key, `"`), descriptionKeys()); len(near) > 0 {
			text += "; did you mean " + explain.Alternatives(near) + "?"
		}
		return errors.New(text)
	}
	return errors.New(strings.TrimPrefix(err.Error(), "json: "))
}

// descriptionKeys are the keys of a description, on every level.
func descriptionKeys() []string {
	var keys []string
	for _, part := range []reflect.Type{reflect.TypeFor[Cluster](), reflect.TypeFor[Backup](), reflect.TypeFor[Node](), reflect.TypeFor[Phones]()} {
		for field := range part.Fields() {
			if key := field.Tag.Get("json"); !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func lineAt(data []byte, offset int64) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), int64(len(data)))], []byte("\n"))
}

var (
	// clusterName is short enough for a column and has nothing that a shell or a path would take for something else.
	clusterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	hostLabel   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
)

// MaxNodes bounds the nodes of a cluster; the products end at 8 to 21 nodes.
const MaxNodes = 100

// validate returns everything that is wrong, joined.
func (c *Cluster) validate() error {
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if !clusterName.MatchString(c.Name) {
		add("name %q: use 1 to 63 letters, digits, points, hyphens and underscores", c.Name)
	}
	if c.Domain != "" && !validDomain(c.Domain) {
		add("domain %q is no DNS domain", c.Domain)
	}
	switch c.PhoneInteraction {
	case "", "automatic", "manual":
	default:
		add("phoneInteractionOnCertificateUpdate %q: use automatic or manual", c.PhoneInteraction)
	}
	if len(c.Nodes) > MaxNodes {
		add("%d nodes; at most %d are possible", len(c.Nodes), MaxNodes)
		return errors.New(strings.Join(wrong, "; "))
	}
	publishers := 0
	seen := map[string]string{}
	for i := range c.Nodes {
		n := &c.Nodes[i]
		what := fmt.Sprintf("node %q", n.Name)
		if !hostLabel.MatchString(n.Name) {
			add("%s: the name has to be a host name without domain", what)
		}
		if !validDomain(n.FQDN) {
			add("%s: fqdn %q is no DNS name", what, n.FQDN)
		}
		switch n.Role {
		case Publisher:
			publishers++
			if n.Product != purpose.CUCM {
				add("%s: a publisher has the product cucm", what)
			}
		case Subscriber:
		default:
			add("%s: role %q: use publisher or subscriber", what, n.Role)
		}
		for _, service := range n.Services {
			// Others than these run on a node as well. One that is nearly one of these is a slip, and its restart would be missing.
			if near := explain.Closest(service, purpose.Services()); !slices.Contains(purpose.Services(), service) && len(near) > 0 {
				add("%s: service %q: did you mean %s?", what, service, explain.Alternatives(near))
			}
		}
		if n.Product != purpose.CUCM && n.Product != purpose.IMP {
			add("%s: product %q: use cucm or imp", what, n.Product)
		}
		for _, name := range slices.Compact([]string{strings.ToLower(n.Name), strings.ToLower(n.FQDN)}) {
			if other, ok := seen[name]; ok {
				add("%s: %q names %s as well", what, name, other)
			}
			seen[name] = what
		}
	}
	if publishers != 1 {
		add("%d publishers; a cluster has exactly one", publishers)
	}
	for issuer, n := range c.Phones.LSCByIssuer {
		if n < 0 {
			add("phones.lscByIssuer %q is negative", issuer)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "; "))
}

// validDomain reports whether name is a DNS name of letters, digits and hyphens in labels, without a point at the end.
func validDomain(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return true
}

// Publisher returns the publisher.
func (c *Cluster) Publisher() *Node {
	for i := range c.Nodes {
		if c.Nodes[i].Role == Publisher {
			return &c.Nodes[i]
		}
	}
	return nil // not of a Cluster that Parse returned
}

// Ordered returns the nodes, the publisher first, the others as they are described.
func (c *Cluster) Ordered() []*Node {
	nodes := []*Node{c.Publisher()}
	for i := range c.Nodes {
		if c.Nodes[i].Role != Publisher {
			nodes = append(nodes, &c.Nodes[i])
		}
	}
	return nodes
}

// Node returns the node with this host name or FQDN, without regard to case.
func (c *Cluster) Node(name string) (*Node, bool) {
	for i := range c.Nodes {
		if strings.EqualFold(c.Nodes[i].Name, name) || strings.EqualFold(c.Nodes[i].FQDN, name) {
			return &c.Nodes[i], true
		}
	}
	return nil, false
}

// Runs reports whether a service runs on the node.
func (n *Node) Runs(service string) bool { return slices.Contains(n.Services, service) }

// Has reports whether the node has certificates of a purpose.
func (n *Node) Has(p *purpose.Identity) bool {
	if !slices.Contains(p.Products, n.Product) {
		return false
	}
	switch p.Nodes {
	case purpose.Publisher:
		return n.Role == Publisher
	case purpose.CallManager:
		return n.Runs(purpose.ServiceCallManager)
	case purpose.TVS:
		return n.Runs(purpose.ServiceTVS)
	default:
		return true
	}
}

// NodesWith returns the nodes that have certificates of a purpose, the publisher first.
func (c *Cluster) NodesWith(p *purpose.Identity) []*Node {
	return slices.DeleteFunc(c.Ordered(), func(n *Node) bool { return !n.Has(p) })
}
