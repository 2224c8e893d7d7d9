package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"callsign/chain"
	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
)

// Usage is what a certificate of the list is for.
type Usage string

// The usages.
const (
	IdentityUsage Usage = "identity"
	TrustUsage    Usage = "trust"
)

// Type is how a certificate of the list came to be.
type Type string

// The types.
const (
	TypeSelfSigned Type = "Self-signed"
	TypeCASigned   Type = "CA-signed"
	TypeCSROnly    Type = "CSR Only" // a request that waits
)

// MultiServer is the distribution of a certificate that serves every node.
const MultiServer = "Multi-server(SAN)"

// Row is a line of the list of certificates.
type Row struct {
	Certificate  string // purpose or trust store
	Usage        Usage
	Type         Type
	CommonName   string
	Serial       string // empty for a request
	KeyType      string
	KeyBits      int
	Node         string // AllNodes for a multi-server certificate and in a replicated store
	Distribution string // node, MultiServer, or the common name of a trust certificate
	IssuedBy     string // empty for a request
	NotBefore    time.Time
	NotAfter     time.Time // zero for a request
	Description  string
	SHA256       string // of the certificate, of the public key of a request
	Chain        string // of an identity certificate: "ok", "self-signed", or why its path is broken
	Broken       bool
	Twin         string // of an identity certificate: the type of the one with the other kind of key; empty without one
	// TwinWarning is set when one of both is self-signed and the other is not.
	TwinWarning bool
	System      bool // a copy of an identity certificate, in a trust store
	Since       time.Time
}

// FileName is the certificate's name as a file on a node.
func (r *Row) FileName() string {
	if r.Usage == IdentityUsage {
		return r.Certificate + ".pem"
	}
	return fileName(r.CommonName, r.Serial)
}

// fileName is common name and serial number, without what a file name cannot have.
func fileName(cn, serial string) string {
	safe := strings.Map(func(c rune) rune {
		if c == '/' || c == '\\' || c < ' ' || c == 0x7f {
			return '_'
		}
		return c
	}, cn)
	if safe == "" {
		return serial + ".pem"
	}
	return safe + "_" + serial + ".pem"
}

// Query chooses rows of the list. The zero value takes all of them.
type Query struct {
	Certificate string // purpose or trust store
	Node        string // host name; rows for every node fit as well
	Usage       Usage
	Type        Type
	KeyType     string
	Within      *Threshold // only what expires within it, or has expired
	Broken      bool       // only identity certificates without a path
	Where       []Criterion
}

// Criterion compares a column with a text, without regard to case.
type Criterion struct {
	Column   string // one of Columns
	Operator string // one of Operators
	Text     string // not looked at by "is empty" and "is not empty"
}

// Columns are the columns that a Criterion compares, in the order of the list.
func Columns() []string {
	return []string{"certificate", "common name", "usage", "type", "key type", "distribution", "issued by", "expiration", "description"}
}

// Operators are how a Criterion compares.
func Operators() []string {
	return []string{"begins with", "contains", "is exactly", "ends with", "is empty", "is not empty"}
}

// ParseCriterion reads "COLUMN OPERATOR TEXT", for example "issued by contains Lab".
func ParseCriterion(text string) (Criterion, error) {
	folded := strings.ToLower(text)
	for _, column := range Columns() {
		rest, ok := strings.CutPrefix(folded, column+" ")
		if !ok {
			continue
		}
		for _, op := range []string{"is not empty", "is empty", "begins with", "is exactly", "ends with", "contains"} {
			after, ok := strings.CutPrefix(rest, op)
			if !ok || after != "" && after[0] != ' ' {
				continue
			}
			value := strings.TrimSpace(text[len(text)-len(after):])
			if needs := !strings.HasSuffix(op, "empty"); needs != (value != "") {
				if needs {
					return Criterion{}, fmt.Errorf("%q: a text is missing after %q", text, op)
				}
				return Criterion{}, fmt.Errorf("%q: nothing can follow %q", text, op)
			}
			return Criterion{Column: column, Operator: op, Text: value}, nil
		}
		return Criterion{}, fmt.Errorf("%q: after the column %q use one of: %s", text, column, strings.Join(Operators(), ", "))
	}
	return Criterion{}, fmt.Errorf("%q: begin with a column: %s", text, strings.Join(Columns(), ", "))
}

// column is the text of a column.
func (r *Row) column(name string) string {
	switch name {
	case "certificate":
		return r.Certificate
	case "common name":
		return r.CommonName
	case "usage":
		return string(r.Usage)
	case "type":
		return string(r.Type)
	case "key type":
		return r.KeyType
	case "distribution":
		return r.Distribution
	case "issued by":
		return r.IssuedBy
	case "expiration":
		if r.NotAfter.IsZero() {
			return ""
		}
		return r.NotAfter.UTC().Format(ExpirationFormat)
	default:
		return r.Description
	}
}

// ExpirationFormat is how the list writes a date.
const ExpirationFormat = "01/02/2006"

func (c *Criterion) fits(r *Row) bool {
	have, want := strings.ToLower(r.column(c.Column)), strings.ToLower(c.Text)
	switch c.Operator {
	case "begins with":
		return strings.HasPrefix(have, want)
	case "contains":
		return strings.Contains(have, want)
	case "is exactly":
		return have == want
	case "ends with":
		return strings.HasSuffix(have, want)
	case "is empty":
		return have == ""
	default:
		return have != ""
	}
}

// Threshold says when a certificate is due: a time before its end, or a share of its validity that is used up.
type Threshold struct {
	Before  time.Duration
	Percent int // 1 to 99; 0 means Before counts
}

// ParseThreshold reads "30d", "12h" or "75%".
func ParseThreshold(text string) (Threshold, error) {
	wrong := fmt.Errorf("%q: use days (30d), hours (12h) or a share of the validity (75%%)", text)
	if n, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.Atoi(n)
		if err != nil || percent < 1 || percent > 99 {
			return Threshold{}, wrong
		}
		return Threshold{Percent: percent}, nil
	}
	if n, ok := strings.CutSuffix(text, "d"); ok {
		days, err := strconv.Atoi(n)
		if err != nil || days < 0 || days > 36500 {
			return Threshold{}, wrong
		}
		return Threshold{Before: time.Duration(days) * 24 * time.Hour}, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return Threshold{}, wrong
	}
	return Threshold{Before: d}, nil
}

// String returns the threshold as ParseThreshold reads it.
func (t Threshold) String() string {
	switch {
	case t.Percent > 0:
		return fmt.Sprintf("%d%%", t.Percent)
	case t.Before%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", t.Before/(24*time.Hour))
	default:
		return t.Before.String()
	}
}

// Due reports whether a validity has reached the threshold at a time.
func (t Threshold) Due(notBefore, notAfter, at time.Time) bool {
	if t.Percent == 0 {
		return at.Add(t.Before).After(notAfter)
	}
	// In seconds of an int64: a Duration ends at 292 years, and there are certificates until the year 9999.
	validity, used := notAfter.Unix()-notBefore.Unix(), at.Unix()-notBefore.Unix()
	return used*100 >= validity*int64(t.Percent)
}

// List returns the certificates and the requests that a query chooses, in the order of the purposes, then of the trust
// stores, each by node and common name. A multi-server certificate is one row.
func (s *Service) List(ctx context.Context, q Query) (rows []Row, err error) {
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		rows, err = s.list(ctx, r, &q)
		return err
	})
	return rows, err
}

func (s *Service) list(ctx context.Context, r Reader, q *Query) ([]Row, error) {
	var rows []Row
	if q.Usage != TrustUsage {
		identities, err := s.identityRows(ctx, r)
		if err != nil {
			return nil, err
		}
		rows = identities
	}
	if q.Usage != IdentityUsage && !q.Broken && (q.Certificate == "" || purpose.IsStore(q.Certificate)) {
		trust, err := r.TrustList(ctx, q.Certificate)
		if err != nil {
			return nil, err
		}
		for i := range trust {
			rows = append(rows, trustRow(&trust[i]))
		}
	}
	now := s.now()
	rows = slices.DeleteFunc(rows, func(row Row) bool { return !q.fits(&row, now) })
	order := places()
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(order[a.Certificate]-order[b.Certificate], strings.Compare(a.Node, b.Node), strings.Compare(a.CommonName, b.CommonName),
			strings.Compare(string(a.Type), string(b.Type)), strings.Compare(a.SHA256, b.SHA256))
	})
	return rows, nil
}

// places is the place of each purpose and store in the list.
func places() map[string]int {
	order := map[string]int{}
	for i, name := range slices.Concat(purpose.Names(), purpose.StoreNames()) {
		order[name] = i
	}
	return order
}

func (q *Query) fits(r *Row, now time.Time) bool {
	if q.Certificate != "" && r.Certificate != q.Certificate || q.Usage != "" && r.Usage != q.Usage || q.Type != "" && r.Type != q.Type {
		return false
	}
	if q.Node != "" && r.Node != AllNodes && r.Node != q.Node || q.KeyType != "" && r.KeyType != q.KeyType || q.Broken && !r.Broken {
		return false
	}
	if q.Within != nil && (r.Type == TypeCSROnly || !q.Within.Due(r.NotBefore, r.NotAfter, now)) {
		return false
	}
	return !slices.ContainsFunc(q.Where, func(c Criterion) bool { return !c.fits(r) })
}

// identityRows are the certificates in service and the requests.
func (s *Service) identityRows(ctx context.Context, r Reader) ([]Row, error) {
	identities, err := s.identities(ctx, r)
	if err != nil {
		return nil, err
	}
	requests, err := r.Requests(ctx)
	if err != nil {
		return nil, err
	}
	var rows []Row
	known := map[string]int{} // multi-server certificates, by purpose and fingerprint
	paths := map[string]string{}
	for i := range identities {
		id := &identities[i]
		key := id.Purpose + " " + id.SHA256
		if _, ok := known[key]; ok && id.Multi {
			continue
		}
		row := recordRow(&id.Record)
		row.Certificate, row.Usage, row.Node, row.Distribution = id.Purpose, IdentityUsage, id.Node, id.Node
		row.Description, row.Since = id.Description, id.Since
		if id.Multi {
			known[key] = len(rows)
			row.Node, row.Distribution = AllNodes, MultiServer
		}
		if row.Chain, err = s.chainOf(ctx, r, id, paths); err != nil {
			return nil, err
		}
		row.Broken = row.Chain != chainOK && row.Chain != chainSelf
		row.Twin, row.TwinWarning = twinOf(identities, id)
		rows = append(rows, row)
	}
	for i := range requests {
		row, err := requestRow(&requests[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func recordRow(r *Record) Row {
	row := Row{
		Type: TypeCASigned, CommonName: r.CommonName, Serial: r.Serial, KeyType: r.KeyType, KeyBits: r.KeyBits,
		IssuedBy: r.IssuerName, NotBefore: r.NotBefore, NotAfter: r.NotAfter, SHA256: r.SHA256,
	}
	if r.SelfSigned {
		row.Type = TypeSelfSigned
	}
	return row
}

func trustRow(t *Trust) Row {
	row := recordRow(&t.Record)
	row.Certificate, row.Usage, row.Node, row.Distribution = t.Store, TrustUsage, t.Node, t.CommonName
	row.Description, row.System, row.Since = t.Description, t.Origin == System, t.Added
	return row
}

func requestRow(q *Request) (Row, error) {
	x, err := q.parse()
	if err != nil {
		return Row{}, err
	}
	row := Row{
		Certificate: q.Purpose, Usage: IdentityUsage, Type: TypeCSROnly, CommonName: x.Subject.CommonName, Node: q.Node, Distribution: q.Node,
		SHA256: q.KeyHash, Since: q.Created, Description: "Waits for its certificate",
	}
	if q.Node == AllNodes {
		row.Distribution = MultiServer
	}
	row.KeyType, row.KeyBits = keyKind(x.PublicKey, x.PublicKeyAlgorithm)
	return row, nil
}

// What the column chain says of a certificate with a path, and of one that needs none.
const (
	chainOK   = "ok"
	chainSelf = "self-signed"
)

// chainOf says whether a certificate has a path in the trust store of its purpose. known keeps the answers.
func (s *Service) chainOf(ctx context.Context, r Reader, id *Identity, known map[string]string) (string, error) {
	if id.SelfSigned {
		return chainSelf, nil
	}
	if text, ok := known[id.SHA256]; ok {
		return text, nil
	}
	result, err := s.verify(ctx, r, id, nil)
	if err != nil {
		return "", err
	}
	text := chainOK
	if f := result.Faults; len(f) > 0 {
		text = string(f[0].Code) + ": " + f[0].Detail
	}
	known[id.SHA256] = text
	return text, nil
}

// Path is the path of a certificate in service, in the trust store of its purpose.
type Path struct {
	Text   string // as Row.Chain
	Broken bool
	Path   []*chain.Certificate // the certificate first, as far as there are issuers; at least that one
}

// Path judges the path of a certificate in service.
func (s *Service) Path(ctx context.Context, id *Identity) (p *Path, err error) {
	err = s.Store.View(ctx, s.Cluster.Name, func(r Reader) error {
		p = &Path{Path: []*chain.Certificate{chain.Parse(id.DER)}}
		if p.Text, err = s.chainOf(ctx, r, id, map[string]string{}); err != nil || id.SelfSigned {
			return err
		}
		p.Broken = p.Text != chainOK
		result, err := s.verify(ctx, r, id, nil)
		if err == nil && len(result.Path) > 0 {
			p.Path = result.Path
		}
		return err
	})
	return p, err
}

// verify judges the path of a certificate in the store of its purpose, as if some certificates were not in it and others were.
func (s *Service) verify(ctx context.Context, r Reader, id *Identity, but map[string]bool, and ...*chain.Certificate) (*chain.Result, error) {
	p, err := findPurpose(id.Purpose)
	if err != nil {
		return nil, err
	}
	leaf := chain.Parse(id.DER)
	found, err := relevant(ctx, r, p.Trust, id.Node, leaf)
	if err != nil {
		return nil, err
	}
	anchors := slices.Clone(and)
	for _, f := range found {
		if !but[f.SHA256()] {
			anchors = append(anchors, f)
		}
	}
	return upload.FindPath(leaf, anchors, p.Trust, s.now()), nil
}

// twinOf is the type of the certificate with the other kind of key on the same node.
func twinOf(all []Identity, id *Identity) (text string, warn bool) {
	p, err := findPurpose(id.Purpose)
	if err != nil {
		return "", false
	}
	twin := p.Twin()
	i := slices.IndexFunc(all, func(o Identity) bool { return o.Purpose == twin && o.Node == id.Node })
	if twin == "" || i < 0 {
		return "", false
	}
	if all[i].SelfSigned {
		return string(TypeSelfSigned), !id.SelfSigned
	}
	return string(TypeCASigned), id.SelfSigned
}
