package cli

import (
	"fmt"
	"slices"
	"strings"

	"callsign/chain"
)

// judgement writes a judgement for people: the chain with a mark on each link, each fault with what to do, and in the last
// line the verdict.
func (r *report) judgement(j *judgement) {
	r.line("", 0, j.source)
	r.item("  ", "judged", j.asked())
	if j.server != nil {
		r.item("  ", "server", j.server.words())
	}
	r.blank()
	r.links(j)
	for i := range j.result.Faults {
		r.blank()
		r.fault(j, i)
	}
	if len(j.result.Notes) > 0 {
		r.blank()
		for _, n := range j.result.Notes {
			head := fmt.Sprintf("note: certificate %d: ", n.Depth)
			r.line(r.env.paint(r.out, "note:")+head[len("note:"):], len(head), n.Text)
		}
	}
	r.blank()
	r.verdict(j)
}

func (r *report) blank() { fmt.Fprintln(r.out) }

// asked says what was judged, by which rules and when.
func (j *judgement) asked() string {
	article := map[chain.Usage]string{
		chain.Server: "as a server", chain.Client: "as a client", chain.CA: "as a CA", chain.Any: "for any use", chain.MIC: "as a manufacturing certificate (MIC)",
	}
	text := article[j.judge.Usage]
	if j.result.Name != "" {
		text += " with the name " + j.result.Name
	} else if j.judge.Usage == chain.Server {
		text += " (no name checked: use --name)"
	}
	text += ", profile " + j.judge.Profile.String() + ", at " + local(j.result.Time)
	trusted := j.judge.Anchors.Len()
	return text + fmt.Sprintf(", %d certificate%s in %s", trusted, plural(trusted), j.judge.Anchors)
}

// mostUnused is how many certificates without a place in the chain are listed: a whole CA bundle may be presented.
const mostUnused = 10

// links draws the chain from the leaf up.
func (r *report) links(j *judgement) {
	res := j.result
	const indent = 10 // of what stands below a link
	sub := strings.Repeat(" ", indent)
	for depth, c := range res.Path {
		mark, why := j.mark(depth)
		head := fmt.Sprintf("  %-2d ", depth)
		text := c.Subject()
		if res.Anchor != nil && depth == len(res.Path)-1 {
			text += "  (trusted)"
		}
		r.line(head+r.env.paint(r.out, fmt.Sprintf("%-4s", mark))+" ", indent, text)
		if x := c.X509(); x != nil {
			r.line(sub, indent, "valid "+span(x.NotBefore, x.NotAfter, res.Time))
			r.line(sub, indent, fmt.Sprintf("%s, %s, serial %s", chain.KeyText(x.PublicKey, x.PublicKeyAlgorithm), x.SignatureAlgorithm, chain.SerialText(x.SerialNumber)))
			if names := nameList(x.DNSNames, x.IPAddresses, x.URIs, x.EmailAddresses); depth == 0 && len(names) > 0 {
				r.line(sub+"for ", indent+4, strings.Join(names, ", "))
			}
		} else {
			r.line(sub, indent, "does not parse: "+c.Err().Error())
		}
		if why != "" {
			r.line(sub+"^ ", indent+2, why)
		}
	}
	if issuer := j.missing(); issuer != "" {
		head := fmt.Sprintf("  %-2d ", len(res.Path))
		r.line(head+r.env.paint(r.out, "----")+" ", indent, issuer+"  (missing)")
	}
	if len(j.unused) > 0 {
		r.line("  ", 2, fmt.Sprintf("%d more certificate%s presented, not part of this chain:", len(j.unused), plural(len(j.unused))))
		for i, c := range j.unused {
			if i == mostUnused {
				r.line("     - ", 7, fmt.Sprintf("and %d more: --json shows all", len(j.unused)-i))
				break
			}
			text := c.Subject()
			if c.X509() == nil {
				text += " (does not parse: " + c.Err().Error() + ")"
			}
			r.line("     - ", 7, text)
		}
	}
}

// mark says whether a certificate has faults, and which.
func (j *judgement) mark(depth int) (mark, why string) {
	var own, follow []string
	for i := range j.result.Faults {
		f := &j.result.Faults[i]
		at := func(f chain.Fault) bool { return f.Depth == depth }
		if at(*f) {
			own = append(own, string(f.Code))
		} else if slices.ContainsFunc(f.Consequences, at) {
			follow = append(follow, fmt.Sprintf("follows from problem %d", i+1))
		}
	}
	if len(own) > 0 {
		return "FAIL", strings.Join(slices.Compact(own), ", ")
	}
	if len(follow) > 0 {
		return "FAIL", strings.Join(follow, ", ")
	}
	return "OK", ""
}

// missing returns the issuer that the chain lacks, "" when it lacks none.
func (j *judgement) missing() string {
	last := len(j.result.Path) - 1
	for _, f := range j.result.Faults {
		if (f.Code == chain.UnknownIssuer || f.Code == chain.IncompleteAnchor) && f.Depth == last {
			return j.result.Path[last].Issuer()
		}
	}
	return ""
}

// fault writes one problem and, below it, what follows from it.
func (r *report) fault(j *judgement, i int) {
	f := &j.result.Faults[i]
	r.faultHead("", fmt.Sprintf("problem %d of %d: ", i+1, len(j.result.Faults)), f)
	r.faultBody("  ", f)
	o := f.OpenSSL()
	if o.Number != 0 {
		r.item("  ", "openssl", fmt.Sprintf("error %d at %d depth lookup: %s", o.Number, o.Depth, o.Text))
	}
	if curl, ok := j.curl(); ok && i == 0 {
		r.item("  ", "curl", fmt.Sprintf("(%d) %s", curl.Code, curl.Text))
	}
	r.item("  ", "more", "callsign explain "+string(f.Code))
	for k := range f.Consequences {
		if k == 0 {
			r.line("  ", 2, "goes away with it:")
		}
		r.faultHead("    - ", "", &f.Consequences[k])
		r.faultBody("      ", &f.Consequences[k])
	}
}

// faultHead is the line that names a fault and where it is.
func (r *report) faultHead(indent, counted string, f *chain.Fault) {
	head := indent
	if counted != "" {
		head += r.env.paint(r.out, strings.TrimSuffix(counted, " ")) + " "
	}
	text := string(f.Code)
	if f.Code != chain.NoCertificate {
		text += fmt.Sprintf(" (certificate %d)", f.Depth)
	}
	r.line(head, len(indent)+len(counted), text)
}

func (r *report) faultBody(indent string, f *chain.Fault) {
	r.line(indent, len(indent), f.Detail)
	r.item(indent, "found", f.Actual)
	r.item(indent, "expected", f.Expected)
	for _, n := range f.NearMisses {
		r.item(indent, "nearly", n)
	}
	r.item(indent, "fix", f.Remedy)
	rule := ruleOf(f)
	text := fmt.Sprintf("%s (%s)", rule.Name, strings.Replace(rule.Source, "own", "own rule", 1))
	if rule.Text != f.Expected {
		text += ": " + rule.Text
	}
	r.item(indent, "rule", text)
}

// verdict is the last line.
func (r *report) verdict(j *judgement) {
	res := j.result
	name := "nothing"
	if len(res.Path) > 0 {
		name = res.Path[0].Subject()
	}
	if res.OK() {
		leaf := res.Path[0].X509()
		r.line(r.env.paint(r.out, "OK")+"    ", 6, fmt.Sprintf("%s is accepted until %s (%s)", name, local(leaf.NotAfter), in(leaf.NotAfter, res.Time)))
		return
	}
	codes := make([]string, len(res.Faults))
	for i, f := range res.Faults {
		codes[i] = string(f.Code)
	}
	r.line(r.env.paint(r.out, "FAIL")+"  ", 6, fmt.Sprintf("%s is refused: %s", name, strings.Join(slices.Compact(codes), ", ")))
}
