package cluster

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"callsign/internal/cluster/purpose"
	"callsign/internal/cluster/upload"
	"callsign/internal/explain"
)

// Template is a request or a self-signed certificate that was checked and can be made. Prepare and PrepareSelfSigned
// return it.
type Template struct {
	Purpose     string
	Node        string // host name; AllNodes for Multi-server(SAN)
	MadeOn      string // host name of the node that the common name is made of
	CommonName  string
	DNSNames    []string     // parent domain, nodes, others and alternate host names
	IPAddresses []netip.Addr // alternate host names that are addresses
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []x509.ExtKeyUsage
	CA          bool // with a path length of 0
	Key         KeySpec
	Hash        Hash
	Years       int // that a self-signed certificate is valid
	Notes       []Note

	name       pkix.RDNSequence
	selfSigned bool // made by PrepareSelfSigned
}

// Note is a warning about something that is possible but may surprise.
type Note struct {
	Code string // one of the constants that begin with Note
	Text string
}

// The codes of notes. Those that checks of uploads have as well are the same.
const (
	NoteWeakKey    = string(upload.WeakKey)     // RSA below 2048 bits
	NoteLongKey    = string(upload.RSAOver2048) // some phones do not take it
	NoteNoNames    = "NO_NAMES"                 // no subject alternative names
	NoteCommonName = "CN_NOT_IN_NAMES"          // a CA that adds it makes a certificate that is refused
	NotePresence   = "PRESENCE_NODES"           // the certificate goes to IM and Presence nodes as well
	NoteNotRunning = "TOMCAT_NOT_RUNNING"       // on nodes that the certificate has to be sent to
	NoteFIPS       = "FIPS_KEY"                 // a shorter key than usual, because of FIPS mode
)

// NoteCodes returns the codes of notes that checks of uploads do not have.
func NoteCodes() []string {
	return []string{NoteNoNames, NoteCommonName, NotePresence, NoteNotRunning, NoteFIPS}
}

// serviceTomcat takes a multi-server certificate from the node where it was uploaded.
const serviceTomcat = "Cisco Tomcat"

// Prepare checks the fields of a request and completes them. s are the subject settings of the node that makes it; the zero
// value leaves the common name alone. An empty profile is purpose.Profile15. A CAPF name gets new digits with each call.
//
// Errors are *Problem: CodePurpose, CodeNode, CodeNoCSR, CodeNotMulti, CodeNotHere, and CodeField, which names every field
// that is wrong at once.
func (c *Cluster) Prepare(f Fields, s Subject, profile purpose.Profile) (*Template, error) {
	return c.prepare(f, s, profile, false)
}

// PrepareSelfSigned is Prepare for a self-signed certificate. Purposes that a CA cannot sign are possible, and units are
// always included.
func (c *Cluster) PrepareSelfSigned(f Fields, s Subject, profile purpose.Profile) (*Template, error) {
	return c.prepare(f, s, profile, true)
}

// draft is a template in the making.
type draft struct {
	Template

	cluster *Cluster
	fields  *Fields
	subject *Subject
	purpose *purpose.Identity
	node    *Node
	wrong   faults
}

func (c *Cluster) prepare(f Fields, s Subject, profile purpose.Profile, selfSigned bool) (*Template, error) {
	p, err := c.purposeOf(&f, selfSigned)
	if err != nil {
		return nil, err
	}
	n, err := c.nodeOf(&f, p)
	if err != nil {
		return nil, err
	}
	d := &draft{cluster: c, fields: &f, subject: &s, purpose: p, node: n}
	d.Purpose, d.Node, d.MadeOn, d.selfSigned, d.CA, d.Years = p.Name, n.Name, n.Name, selfSigned, p.CA, p.SelfSigned
	if f.Multi {
		d.Node = AllNodes
	}
	if profile != "" && !slices.Contains(purpose.Profiles(), profile) {
		d.wrong.add("use 15, 12.5 or 11", "profile %s of key usages is not known", shown(string(profile)))
	}
	d.KeyUsage, d.ExtKeyUsage = p.KeyUsage(n.Product, profile), p.ExtKeyUsage(profile)
	s.check(&d.wrong)
	d.commonName()
	d.names()
	d.key()
	if err := d.wrong.problem(d.object()); err != nil {
		return nil, err
	}
	d.name = s.name(d.CommonName, f.IncludeOU || selfSigned)
	d.notes()
	return &d.Template, nil
}

// object names what is being made.
func (d *draft) object() string {
	what := "the request for " + d.Purpose
	if d.selfSigned {
		what = "the self-signed certificate for " + d.Purpose
	}
	if d.fields.Multi {
		return what + ", multi-server, made on " + d.node.Name
	}
	return what + " on " + d.node.Name
}

// purposeOf finds the purpose and checks that what is asked for is possible with it.
func (c *Cluster) purposeOf(f *Fields, selfSigned bool) (*purpose.Identity, error) {
	p, ok := purpose.Find(f.Purpose)
	if !ok {
		return nil, unknownPurpose(f.Purpose)
	}
	if !p.CSR && !selfSigned {
		return nil, &Problem{
			ErrCode: CodeNoCSR, Detail: "no CA signs " + p.Name + ": its certificate is always self-signed",
			Fix: "make a new self-signed certificate for " + p.Name + " instead of a request: callsign cert regen " + p.Name,
		}
	}
	if f.Multi && !p.MultiServer {
		var multi []string
		for _, q := range purpose.Identities() {
			if q.MultiServer {
				multi = append(multi, q.Name)
			}
		}
		return nil, &Problem{
			ErrCode: CodeNotMulti, Detail: p.Name + " has one certificate for each node, not one for all",
			Fix: "repeat it for each node with --node and without --multi-server; multi-server are " + strings.Join(multi, ", "),
		}
	}
	return p, nil
}

// unknownPurpose says that no purpose has this name, and which one is probably meant.
func unknownPurpose(name string) error {
	fix := meant(name, purpose.Names())
	what := "no certificate purpose is called " + shown(name)
	if purpose.IsStore(name) {
		what = name + " is a trust store: it has no requests and no certificate of its own"
	}
	return &Problem{ErrCode: CodePurpose, Detail: what, Fix: fix}
}

// nodeOf finds the node that makes the request.
func (c *Cluster) nodeOf(f *Fields, p *purpose.Identity) (*Node, error) {
	with := c.NodesWith(p)
	var names []string
	for _, n := range with {
		names = append(names, n.Name)
	}
	nowhere := func(node string) error {
		fix := "choose a node that has it: --node " + explain.Alternatives(names)
		if len(names) == 0 {
			fix = "no node of cluster " + c.Name + " has it; check the products and services of the nodes in its description"
		}
		return &Problem{ErrCode: CodeNotHere, Detail: p.Name + " is not on node " + node, Fix: fix}
	}
	if f.Node == "" {
		switch publisher := c.Publisher(); {
		case publisher.Has(p):
			return publisher, nil
		case len(with) == 1 || len(with) > 1 && f.Multi:
			return with[0], nil
		default:
			return nil, nowhere(publisher.Name + ", the publisher")
		}
	}
	n, ok := c.Node(f.Node)
	if !ok {
		return nil, c.unknownNode(f.Node)
	}
	if !n.Has(p) {
		return nil, nowhere(n.Name)
	}
	return n, nil
}

// unknownNode says that no node has this name.
func (c *Cluster) unknownNode(name string) error {
	var names []string
	for _, n := range c.Ordered() {
		names = append(names, n.Name)
	}
	fix := "use " + explain.Alternatives(names) + ", or describe the node in the cluster's file"
	if like := explain.Closest(name, names); len(like) > 0 {
		fix = "did you mean " + explain.Alternatives(like) + "? Otherwise " + fix
	}
	return &Problem{ErrCode: CodeNode, Detail: "cluster " + c.Name + " has no node " + shown(name), Fix: fix}
}

// meant says which word of a fixed list was probably meant, or what there is.
func meant(word string, words []string) string {
	if i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w, word) }); i >= 0 {
		return "write " + words[i] + ": case counts"
	}
	all := "use one of " + strings.Join(words, ", ")
	if like := explain.Closest(word, words); len(like) > 0 {
		return "did you mean " + explain.Alternatives(like) + "? Otherwise " + all
	}
	return all
}

// commonName chooses the common name.
func (d *draft) commonName() {
	name, source := d.fields.CommonName, "common name"
	if name == "" {
		name = d.purpose.CommonName(d.node.Name, d.node.FQDN, d.cluster.Domain, newDigits(), d.fields.Multi)
		source = "the usual common name"
	}
	d.CommonName = name
	switch n := len([]rune(name)); {
	case strings.Contains(name, "*"):
		d.wrong.add("name the host", "%s %s is a wildcard, which call managers do not support", source, shown(name))
	case n > maxName:
		d.wrong.add("give a shorter one with --cn, for example the host name without the domain: names are read from the subject alternative names",
			"%s %s has %d characters where X.520 allows %d", source, shown(name), n, maxName)
	default:
		checkText(&d.wrong, source, name, maxName)
	}
}

// newDigits returns the eight hexadecimal digits of a new CAPF name.
func newDigits() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// hasNames tells whether certificates of the purpose have subject alternative names: those that servers present do; CAPF and
// the signers of trust lists and tokens are found by their keys.
func hasNames(p *purpose.Identity) bool { return p.CSR && !p.CA }

// names chooses the subject alternative names.
func (d *draft) names() {
	parent := d.parentDomain()
	d.checkOthers()
	if !hasNames(d.purpose) {
		return
	}
	var l nameList
	l.add(parent)
	emptied := d.fields.ParentDomain != nil && *d.fields.ParentDomain == ""
	switch {
	case d.fields.Multi:
		for _, n := range d.cluster.multiServer(d.purpose) {
			l.add(n.FQDN)
		}
		l.add(d.fields.Others...)
	case emptied && len(d.subject.AlternateHostNames) == 0:
		return
	default:
		l.add(d.node.FQDN)
	}
	l.add(d.subject.AlternateHostNames...)
	if n := len(l.dns) + len(l.ips); n > MaxNames {
		d.wrong.add("leave out other domains that no client asks for", "%d names where at most %d are possible", n, MaxNames)
		return
	}
	d.DNSNames, d.IPAddresses = l.dns, l.ips
}

// parentDomain returns the parent domain, and notes what is wrong with it.
func (d *draft) parentDomain() string {
	if d.fields.ParentDomain == nil {
		return d.cluster.Domain
	}
	domain := *d.fields.ParentDomain
	if domain == "" {
		return ""
	}
	if !hasNames(d.purpose) {
		d.wrong.add("leave the parent domain out", "parent domain %s: certificates for %s have no subject alternative names", shown(domain), d.Purpose)
		return ""
	}
	if _, isIP := address(domain); isIP {
		d.wrong.add("give a domain with --parent-domain", "parent domain %s is an IP address", shown(domain))
	} else if why, fix := dnsNameFault(domain); why != "" {
		d.wrong.add(fix, "parent domain %s %s", shown(domain), why)
	}
	return domain
}

// checkOthers notes what is wrong with the other domains.
func (d *draft) checkOthers() {
	others := d.fields.Others
	if len(others) > 0 && !d.fields.Multi {
		d.wrong.add("leave other domains out, or set them as alternate host names of the node: callsign subject set --node "+d.node.Name+" --alternate-host-name NAME",
			"other domains are possible with --multi-server only")
		return
	}
	if len(others) > MaxNames {
		d.wrong.add("leave out other domains that no client asks for", "%d other domains where at most %d names are possible", len(others), MaxNames)
		d.fields.Others = nil
		return
	}
	for _, name := range others {
		if _, isIP := address(name); isIP {
			d.wrong.add("set an IP address as alternate host name of node "+d.node.Name+": callsign subject set --node "+d.node.Name+" --alternate-host-name ADDRESS",
				"other domain %s is an IP address where only FQDNs are possible", shown(name))
			continue
		}
		why, fix := dnsNameFault(name)
		if why == "" && !strings.Contains(name, ".") {
			why, fix = "is a host name without domain where only FQDNs are possible", "write it with its domain"
		}
		if why != "" {
			d.wrong.add(fix, "other domain %s %s", shown(name), why)
		}
	}
}

// multiServer returns the nodes that a multi-server certificate of a purpose is for: all whose product has the purpose,
// whatever runs on them. Their order is that of a call manager: subscribers, publisher, IM and Presence.
func (c *Cluster) multiServer(p *purpose.Identity) []*Node {
	var subscribers, last []*Node
	for _, n := range c.Ordered()[1:] {
		switch {
		case !slices.Contains(p.Products, n.Product):
		case n.Product == purpose.CUCM:
			subscribers = append(subscribers, n)
		default:
			last = append(last, n)
		}
	}
	if publisher := c.Publisher(); slices.Contains(p.Products, publisher.Product) {
		subscribers = append(subscribers, publisher)
	}
	return append(subscribers, last...)
}

// key chooses key and hash.
func (d *draft) key() {
	k, fips := d.fields.Key, d.cluster.FIPS
	if k.Type == "" {
		k.Type = d.purpose.Key
	}
	if k.Type != d.purpose.Key {
		fix := "use " + keyTexts(d.purpose.Key)
		if twin := d.purpose.Twin(); twin != "" {
			fix += ", or the purpose " + twin
		}
		d.wrong.add(fix, "key %s: %s has keys of the type %s", k, d.Purpose, d.purpose.Key)
		return
	}
	if k.Bits == 0 {
		k = DefaultKey(k.Type, fips)
	}
	if !slices.Contains(KeySpecs(k.Type), k) {
		d.wrong.add("use "+keyTexts(k.Type), "key %s has no possible length", k)
		return
	}
	if d.CA && k.Bits >= 4096 && d.cluster.MixedMode {
		d.wrong.add("use rsa:2048 or rsa:3072", "key %s: a CA certificate cannot have it in mixed mode", k)
	}
	d.Key = k
	allowed := k.Hashes(fips)
	switch h := d.fields.Hash; {
	case len(allowed) == 0:
		d.wrong.add("use ec:256", "key %s: FIPS mode allows the hash SHA256 only, which does not go with it", k)
	case h == "":
		d.Hash = allowed[0]
	case !slices.Contains(allowed, h):
		var texts []string
		for _, a := range allowed {
			texts = append(texts, a.String())
		}
		why := ""
		if fips {
			why = " in FIPS mode"
		}
		d.wrong.add("use "+explain.Alternatives(texts), "hash %s does not go with key %s%s", shown(h.String()), k, why)
	default:
		d.Hash = h
	}
}

// notes adds the warnings.
func (d *draft) notes() {
	note := func(code, format string, args ...any) {
		d.Notes = append(d.Notes, Note{Code: code, Text: fmt.Sprintf(format, args...)})
	}
	own := d.fields.CommonName != ""
	multi := d.fields.Multi
	switch {
	case d.Key.Type == purpose.RSA && d.Key.Bits < 2048:
		note(NoteWeakKey, "an RSA key of %d bits is weak; most CAs refuse it, and so do many TLS peers: use rsa:2048", d.Key.Bits)
	case d.Key.Type == purpose.RSA && d.Key.Bits > 2048 && d.Purpose == "CallManager":
		note(NoteLongKey, "some phones cannot register with a CallManager key of %d bits: try it with each model, or use rsa:2048", d.Key.Bits)
	case d.cluster.FIPS && d.Key.Type == purpose.EC && d.fields.Key.Bits == 0:
		note(NoteFIPS, "the key has %d bits, because FIPS mode allows the hash SHA256 only", d.Key.Bits)
	}
	if hasNames(d.purpose) && len(d.DNSNames)+len(d.IPAddresses) == 0 {
		note(NoteNoNames, "there are no subject alternative names, not even %s: the CA may add names, and clients that read nothing else trust "+
			"the certificate only then", d.node.FQDN)
	} else if !d.selfSigned && hasNames(d.purpose) && (own || multi) && !slices.ContainsFunc(d.DNSNames, func(n string) bool { return strings.EqualFold(n, d.CommonName) }) {
		note(NoteCommonName, "the common name %s is not among the subject alternative names: a certificate to which the CA adds it is refused at upload; "+
			"for such a CA choose one of the names with --cn", d.CommonName)
	}
	if !multi {
		return
	}
	var presence, stopped []string
	for _, n := range d.cluster.multiServer(d.purpose) {
		if n.Product == purpose.IMP {
			presence = append(presence, n.Name)
		}
		if !n.Runs(serviceTomcat) {
			stopped = append(stopped, n.Name)
		}
	}
	if len(presence) > 0 && slices.Contains(d.purpose.Products, purpose.CUCM) {
		note(NotePresence, "the certificate is for the IM and Presence nodes as well: %s", strings.Join(presence, ", "))
	}
	if len(stopped) > 0 {
		note(NoteNotRunning, "%s does not run on %s: it takes the certificate from the node of the upload, so start it before",
			serviceTomcat, strings.Join(stopped, ", "))
	}
}

// Subject returns the subject as text, as RFC 2253 has it: the last attribute first.
func (t *Template) Subject() string { return t.name.String() }

// Multi tells whether it is for every node.
func (t *Template) Multi() bool { return t.Node == AllNodes }

// Names returns the subject alternative names in their order, addresses last.
func (t *Template) Names() []string {
	names := slices.Clone(t.DNSNames)
	for _, ip := range t.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
