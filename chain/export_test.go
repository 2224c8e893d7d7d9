package chain

// JudgePath judges a path in the given order, as if a search had found it, and returns the names of the rules that it
// breaks, those that keep the search from finding it among them. The last certificate counts as an anchor.
func (v *Verifier) JudgePath(path []*Certificate, name string) []string {
	s := search{v: v, presented: path, now: v.Now()}
	if name != "" {
		s.reference = parseReference(name)
	}
	j := judgement{search: &s, path: path, end: endAnchor, anchor: &Anchor{Certificate: path[len(path)-1]}}
	var broken []string
	for i := range path[1:] {
		switch child, issuer := path[i], path[i+1]; {
		case child.issuer != issuer.subject:
			broken = append(broken, ruleIssuer.Name)
		case !child.identifies(issuer):
			broken = append(broken, ruleKeyIdentifier.Name)
		}
	}
	if !path[len(path)-1].claimsSelfSigned() {
		broken = append(broken, ruleAnchor.Name)
	}
	for _, f := range j.judge().faults {
		broken = append(broken, f.Rule)
		for _, c := range f.Consequences {
			broken = append(broken, c.Rule)
		}
	}
	return broken
}
