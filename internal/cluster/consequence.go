package cluster

import (
	"slices"

	"callsign/internal/cluster/purpose"
)

// Consequences are what a changed certificate asks for, in order: what has to hold before services are restarted, the steps,
// and what to do afterwards.
type Consequences struct {
	Before []string // in a sentence each
	Steps  []Step
	After  []string
}

// Step is one thing to do on one node.
type Step struct {
	Node    string
	Service string // that is restarted; empty for another command
	Command string // of the node's command line
	Note    string // where else it can be done, or that the node does it by itself; may be empty
}

// TrustDeleted returns the restarts after a certificate was deleted from a trust store, the publisher first.
func (c *Cluster) TrustDeleted(s *purpose.Store) []Step {
	var steps []Step
	for _, service := range s.Restart {
		steps = append(steps, c.restarts(&purpose.Restart{Service: service, Scope: "running", Via: "serviceability"}, nil)...)
	}
	return steps
}

// Changed returns what follows from new certificates of a purpose on nodes. Within a service the publisher comes first, then
// one subscriber after the other, and the next only when the one before is up.
func (c *Cluster) Changed(p *purpose.Identity, m purpose.Mode, nodes []string) Consequences {
	var out Consequences
	for _, name := range p.Confirm {
		if text := c.precondition(name); text != "" {
			out.Before = append(out.Before, text)
		}
	}
	publisher := c.Publisher().Name
	if p.Name == "ITLRecovery" {
		command := "utils itl reset localkey"
		if c.MixedMode {
			command = "utils ctl reset localkey"
		}
		out.Steps = append(out.Steps, Step{Node: publisher, Command: command, Note: "then reset all phones, and wait until they are registered"})
	}
	if c.MixedMode && p.CTLUpdate {
		out.Steps = append(out.Steps, Step{Node: publisher, Command: "utils ctl update CTLFile", Note: "before the restarts"})
	}
	for _, r := range p.Restarts(m) {
		if c.applies(r.When) {
			out.Steps = append(out.Steps, c.restarts(&r, nodes)...)
		}
	}
	// The first of two resets is in the steps, and no cluster makes the second by itself.
	if p.PhonesReset && !slices.Contains(p.After, secondReset) {
		note := "reset all phones, and wait until they are registered"
		if c.PhoneInteraction == "" || c.PhoneInteraction == "automatic" {
			note = "phones are reset by the cluster itself (Phone Interaction on Certificate Update is automatic); wait until they are registered"
		}
		out.After = append(out.After, note)
	}
	for _, name := range p.After {
		if text := c.followUp(name); text != "" {
			out.After = append(out.After, text)
		}
	}
	backup := "take a backup: a restore of an older one brings the old certificate back"
	if p.PhonesReset {
		backup += ", and phones then trust neither"
	}
	out.After = append(out.After, backup)
	return out
}

func (c *Cluster) applies(when string) bool {
	switch when {
	case "":
		return true
	case "sso":
		return c.SSO
	case "sip-oauth":
		return c.SIPOAuth
	case "imp":
		return slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Product == purpose.IMP })
	default:
		return false
	}
}

// restarts are the nodes on which a service is restarted. Services that only present the certificate of their own node
// are restarted where it changed; the others, which also use those of other nodes, wherever they run.
func (c *Cluster) restarts(r *purpose.Restart, changed []string) []Step {
	var steps []Step
	for _, n := range c.Ordered() {
		own := r.Scope == "all" && r.Via == "cli"
		switch {
		case r.Scope == "publisher" && n.Role != Publisher:
			continue
		case own && changed != nil && !slices.Contains(changed, n.Name):
			continue
		case !n.Runs(r.Service) && (r.When == "" || !own):
			continue
		}
		s := Step{Node: n.Name, Service: r.Service, Command: "utils service restart " + r.Service}
		switch {
		case r.Auto:
			s.Note = "the release restarts it by itself"
		case r.Via == "serviceability" && r.Group == "feature":
			s.Note = "or: Cisco Unified Serviceability, Tools, Control Center - Feature Services"
		case r.Via == "serviceability" && r.Group == "network":
			s.Note = "or: Cisco Unified Serviceability, Tools, Control Center - Network Services"
		}
		steps = append(steps, s)
	}
	return steps
}

// precondition is what has to hold before the restarts; empty when it does not apply to this cluster.
func (c *Cluster) precondition(name string) string {
	switch name {
	case "sso-disabled":
		if !c.SSO {
			return ""
		}
		return "disable SAML SSO before the restart"
	case "drf-idle":
		if c.Backup.ActiveJob {
			return "a backup or restore is running: wait until it has ended"
		}
		return "no backup or restore may run"
	case "phones-registered":
		return "all phones should be registered, and no other certificate that phones check may have changed since they registered last"
	case "itl-healthy":
		return "the trust list (ITL) has to be valid on all phones: one whose list is not has to lose it by hand afterwards"
	case "callmanager-in-ctl":
		if !c.MixedMode {
			return ""
		}
		return "the CTL file has to contain the CallManager certificate that is in service, and phones must have loaded it"
	case "tokens-become-invalid":
		return "all refresh login tokens become invalid: users of softphones have to log in again"
	default:
		return ""
	}
}

// secondReset is what follows when phones were reset once before services are restarted.
const secondReset = "second-phones-reset"

// followUp is what is to be done afterwards.
func (c *Cluster) followUp(name string) string {
	switch name {
	case "sso-enable":
		if !c.SSO {
			return ""
		}
		return "enable SAML SSO again, and test the login"
	case "uccx-trust":
		return "give the new certificate, or its CA's, to Contact Center Express if it is in use"
	case "smart-peers":
		return "give it to peers that have the certificate itself in their trust stores"
	case "keep-old-capf":
		return "keep the old CAPF certificate in CallManager-trust and CAPF-trust until no phone has an LSC of it: callsign trust deps NAME"
	case "radius-vpn-trust":
		return "give the new CAPF certificate to the 802.1X servers and VPN concentrators, and keep the old one there as well"
	case "lsc-reissue":
		return "have new LSCs issued to all phones: callsign phone set NAME --operation install"
	case "oauth-peers":
		return "regenerate the keys on Expressway and Unity Connection as well"
	case secondReset:
		return "reset all phones a second time, and wait until they are registered"
	case "sso-reprovision":
		if !c.SSO {
			return ""
		}
		return "give the service provider metadata to the identity provider again: ITLRecovery signs it"
	case "emcc-bulk":
		return "if Extension Mobility Cross Cluster is in use, repeat its exchange of certificates"
	default:
		return ""
	}
}
