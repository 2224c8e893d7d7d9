package certsrvtest

import (
	"errors"
	"log/slog"
)

// ntlmHandshake is an NTLM login that waits for the client's Type 3: a challenge is good for one answer.
type ntlmHandshake struct {
	negotiate    []byte // the client's Type 1
	challengeMsg []byte // our Type 2
	challenge    [8]byte
}

// ntlmStep is the outcome of one NTLM message: a challenge, a user who is logged in, or a refusal.
type ntlmStep struct {
	challenge []byte
	user      string
	keys      *ntlmKeys // of the user's session
	win32     uint32    // of a refusal; user then is who was refused, where that is known
}

// ntlmStep takes a client's NTLM message, whatever it was wrapped in.
func (a *attempt) ntlmStep(msg []byte) ntlmStep {
	handshake := a.conn.ntlm
	a.conn.ntlm, a.conn.user = nil, ""
	switch ntlmType(msg) {
	case 1:
		return a.ntlmChallenge(msg)
	case 3:
		if handshake != nil {
			return a.ntlmJudge(handshake, msg)
		}
	}
	return ntlmStep{win32: secInvalidToken}
}

// ntlmChallenge answers Type 1 with Type 2.
func (a *attempt) ntlmChallenge(msg []byte) ntlmStep {
	flags, err := negotiateFlags(msg)
	if err != nil {
		return ntlmStep{win32: secInvalidToken}
	}
	h := &ntlmHandshake{negotiate: msg}
	if err := a.s.read(h.challenge[:]); err != nil {
		a.s.log.Error("no randomness", slog.Any("err", err))
		return ntlmStep{win32: secInvalidToken}
	}
	names := ntlmNames{domain: a.s.cfg.Domain, computer: a.s.cfg.Computer, dnsDomain: a.s.cfg.DNSDomain}
	h.challengeMsg = challengeMessage(flags, h.challenge, names, a.s.now())
	a.conn.ntlm = h
	return ntlmStep{challenge: h.challengeMsg}
}

// ntlmJudge judges Type 3.
func (a *attempt) ntlmJudge(h *ntlmHandshake, msg []byte) ntlmStep {
	m, err := parseAuthenticate(msg)
	if err != nil {
		return ntlmStep{win32: secInvalidToken}
	}
	step := ntlmStep{user: m.domain + `\` + m.user, win32: secLogonDenied}
	if a.slow() != nil {
		return step
	}
	u := a.s.findUser(m.domain, m.user)
	password := ""
	if u != nil {
		password = u.Password
	}
	proof, err := m.verify(password, h.challenge, h.negotiate, h.challengeMsg, msg)
	switch {
	case errors.Is(err, errNTLMMalformed):
		step.win32 = secInvalidToken
	case err != nil || u == nil || u.State != AccountOK || a.conditions.Refusal == RefuseLogin:
	case !a.bound(sentBinding{value: proof.binding, there: proof.binding != nil}):
		step.win32 = secBadBindings
	default:
		return ntlmStep{user: a.s.canonical(u), keys: &ntlmKeys{exported: proof.sessionKey, flags: m.flags}}
	}
	return step
}
