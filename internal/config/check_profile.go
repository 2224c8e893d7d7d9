package config

import "slices"

// finding is what is wrong with a profile.
type finding struct{ name, text, fix string }

// profiles judges [ra] and the labels. What a label has from [ra] is reported there.
func (r *rules) profiles() {
	said := map[finding]bool{}
	for _, p := range r.c.profiles() {
		for _, f := range r.profile(p) {
			if said[f] {
				continue
			}
			section := p.section
			if section == "ra" {
				said[f] = true
				if f.name == "users_file" {
					section = "est"
				}
			}
			r.addIn(section, section+"."+f.name, f.text, f.fix)
		}
	}
}

// profile judges keys of one profile together.
func (r *rules) profile(p placedProfile) []finding {
	c := r.c
	var found []finding
	add := func(name, text, fix string) { found = append(found, finding{name, text, fix}) }
	users := p.UsersFile != "" || c.EST.UsersFile != "" || p.CALogin || c.RA.CompatSequence && p.Authority == AuthorityADCS
	anchors := p.ClientCAFile != "" || c.EST.ClientCAFile != ""
	const (
		setUsers   = "set users_file there or in [est], or ca_login = true to let AD CS check passwords"
		setAnchors = "set client_ca_file there or in [est]"
	)
	if a := p.Authentication; a == AuthenticateCertificate || a == AuthenticateBoth {
		if !anchors {
			add("authentication", "cannot be satisfied: there are no trust anchors for certificates of clients"+got(a), setAnchors)
		}
	}
	if a := p.Authentication; a == AuthenticatePassword || a == AuthenticateBoth {
		if !users {
			add("authentication", "cannot be satisfied: there are no users"+got(a), setUsers)
		}
	}
	if p.Authentication == AuthenticateAny && !users && !anchors && len(c.RA.Vouchers) == 0 {
		add("users_file", "is missing: nobody may enrol",
			"set est.users_file, est.client_ca_file, or ra.vouchers with ra.voucher_ca_file")
	}
	if p.CALogin && p.Authority == AuthorityLocal {
		add("ca_login", "cannot be: the local CA knows no users", `set users_file and ca_login = false, or authority = "adcs"`)
	}
	if p.ServerKeygen == KeygenEncrypted && (p.Authentication == AuthenticatePassword || !anchors) {
		add("server_keygen", `cannot be "encrypted": keys are encrypted for the client's certificate, and no client is let in with one here`,
			`set client_ca_file, and authentication to "any", "certificate" or "both"; or server_keygen = "on"`)
	}
	if p.Link == LinkRequired && len(c.RA.TrustedProxies) > 0 {
		add("link", `cannot be "required" beside ra.trusted_proxies: a request that comes through a proxy has another TLS connection than the client's, to which it can never be linked`,
			`set link = "optional", or take ra.trusted_proxies out`)
	}
	return found
}

// Warnings returns what is allowed and probably not meant: variables of the environment that look like ours, keys and
// labels without effect.
func (c *Config) Warnings() []Problem {
	found := slices.Clone(c.unknown)
	warn := func(section, key, text, fix string) { found = append(found, c.problem(section, key, text, fix)) }
	if len(c.RA.TrustedProxies) > 0 && c.RA.ClientCertField == "" {
		warn("ra", "ra.client_cert_field", "is not set: whoever sends the other header through a trusted proxy is believed to be whom it names",
			`name the header that the proxy sets, for example: client_cert_field = "Client-Cert"`)
	}
	sections := c.sectionsByName()
	for i, p := range c.profiles() {
		if i > 0 && c.EST.Listen == "" {
			warn(p.section, p.section, "has no effect: est.listen is empty", "set est.listen, or remove the section")
			continue
		}
		differs := func(name string) bool { // from what would count without the key
			for _, k := range sections[p.section].keys {
				if k.name == name {
					return !equal(k.value(c), k.otherwise(c))
				}
			}
			return false
		}
		uses := func(authority string) bool {
			return p.Authority == authority || i == 0 && c.authorityFor(authority) != ""
		}
		if differs("template") && !uses(AuthorityADCS) {
			warn(p.section, p.section+".template", `has no effect with authority = "local"`, "remove it")
		}
		if differs("validity_days") && !uses(AuthorityLocal) {
			warn(p.section, p.section+".validity_days", `has no effect with authority = "adcs": the template says how long certificates are valid`, "remove it")
		}
		if p.Approval && p.ServerKeygen != KeygenOff && (i == 0 || differs("approval") || differs("server_keygen")) {
			warn(p.section, p.section+".approval", "holds requests for keys that are made here: such a key is kept in memory alone, and an approval that comes after a restart is for a key that is gone",
				`approve within that time, or set server_keygen = "off"`)
		}
	}
	return found
}
