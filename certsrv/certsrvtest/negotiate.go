package certsrvtest

import (
	"encoding/asn1"
	"encoding/base64"
	"slices"
)

// negotiation is a SPNEGO login that has begun: the mechanism is chosen and waits for a token.
type negotiation struct {
	mech     asn1.ObjectIdentifier
	mechsDER []byte
}

// negotiate goes one leg of a login with the scheme Negotiate. The token is SPNEGO, or Kerberos or NTLM without it.
func (a *attempt) negotiate(token string) login {
	b, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return a.denied("", secInvalidToken)
	}
	if ntlmType(b) != 0 {
		if !a.offered.has(schemeNegotiate) {
			return a.denied("", secInvalidToken)
		}
		a.conn.spnego = nil
		return a.negotiated(a.mechNTLM(b), func(_ int64, token []byte, _ *ntlmKeys) []byte { return token })
	}
	if mech, _, err := gssToken(b); err == nil && mech.Equal(oidKRB5) && a.s.kerberos != nil {
		a.conn.spnego = nil
		return a.negotiated(a.mechKerberos(b), func(_ int64, token []byte, _ *ntlmKeys) []byte { return token })
	}
	t, err := parseNegToken(b)
	if err != nil {
		return a.denied("", secInvalidToken)
	}
	return a.spnego(t)
}

// spnego takes a SPNEGO token: the first one chooses the mechanism.
func (a *attempt) spnego(t *negToken) login {
	n := a.conn.spnego
	a.conn.spnego, a.conn.user = nil, ""
	if t.resp == (n == nil) {
		return a.denied("", secInvalidToken) // a later leg with no first one, as behind a load balancer, or a first one too many
	}
	if !t.resp {
		a.conn.ntlm = nil
		i := slices.IndexFunc(t.mechs, a.supports)
		if i < 0 {
			return a.denied("", secInvalidToken)
		}
		n = &negotiation{mech: t.mechs[i], mechsDER: t.mechsDER}
		if i > 0 || t.token == nil {
			// The token, if any, is for the client's favourite, which is not to be.
			a.conn.spnego = n
			return challengeLogin("Negotiate", negResponse(acceptIncomplete, n.mech, nil, nil))
		}
	}
	var step mechStep
	if n.mech.Equal(oidNTLMSSP) {
		step = a.mechNTLM(t.token)
	} else {
		step = a.mechKerberos(t.token)
	}
	if step.win32 == 0 && step.user != "" && t.mic != nil && step.keys != nil && !step.keys.signedBy(byClient, n.mechsDER, t.mic) {
		return a.denied(step.user, secMessageAltered) // somebody changed the list of mechanisms on its way
	}
	l := a.negotiated(step, func(state int64, token []byte, keys *ntlmKeys) []byte {
		var mic []byte
		if state == acceptCompleted && t.mic != nil && keys != nil {
			mic = keys.sign(byServer, n.mechsDER)
		}
		mech := n.mech
		if t.resp {
			mech = nil // named already
		}
		return negResponse(state, mech, token, mic)
	})
	if step.win32 == 0 && step.user == "" {
		a.conn.spnego = n
	}
	return l
}

// supports tells whether a mechanism may be chosen.
func (a *attempt) supports(mech asn1.ObjectIdentifier) bool {
	switch {
	case mech.Equal(oidKRB5), mech.Equal(oidMSKRB5):
		return a.s.kerberos != nil
	case mech.Equal(oidNTLMSSP):
		return a.offered.has(schemeNegotiate)
	}
	return false
}

// mechStep is the outcome of one token of a mechanism: a user who is logged in, a token and no user, or a refusal.
type mechStep struct {
	user  string
	token []byte // to the client; nil: none
	keys  *ntlmKeys
	win32 uint32
}

func (a *attempt) mechNTLM(msg []byte) mechStep {
	step := a.ntlmStep(msg)
	return mechStep{user: step.user, token: step.challenge, keys: step.keys, win32: step.win32}
}

func (a *attempt) mechKerberos(token []byte) mechStep {
	if a.slow() != nil {
		return mechStep{win32: secLogonDenied}
	}
	k, err := a.s.kerberos.accept(token, a.s.now())
	if err != nil {
		return mechStep{win32: kerberosStatus(err)}
	}
	user, state := a.s.ofPrincipal(k.name, k.realm)
	switch {
	case state != AccountOK || a.conditions.Refusal == RefuseLogin:
		return mechStep{user: user, win32: secLogonDenied}
	case !a.bound(k.binding):
		return mechStep{user: user, win32: secBadBindings}
	}
	return mechStep{user: user, token: k.reply}
}

// negotiated makes an answer of a step. wrap puts the mechanism's token into what it came in.
func (a *attempt) negotiated(step mechStep, wrap func(state int64, token []byte, keys *ntlmKeys) []byte) login {
	switch {
	case step.win32 != 0:
		return a.denied(step.user, step.win32)
	case step.user == "":
		return challengeLogin("Negotiate", wrap(acceptIncomplete, step.token, nil))
	}
	final := ""
	if token := wrap(acceptCompleted, step.token, step.keys); token != nil {
		final = "Negotiate " + base64.StdEncoding.EncodeToString(token)
	}
	return a.admit(step.user, final)
}
