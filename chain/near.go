package chain

import (
	"fmt"
	"slices"
)

// mostNear is how many near misses are told.
const mostNear = 5

// nearList collects near misses. Those that are not told are counted, and their texts never made: there may be thousands.
type nearList struct {
	texts []string
	more  int
}

func (l *nearList) add(text func() string) {
	if len(l.texts) == mostNear {
		l.more++
		return
	}
	l.texts = append(l.texts, text())
}

// list returns the texts, and as the last one how many more there are; nil for none.
func (l *nearList) list() []string {
	if l.more > 0 {
		return append(slices.Clip(l.texts), fmt.Sprintf("and %d more", l.more))
	}
	return l.texts
}

// limit is the list of texts that are there already.
func limit(texts []string) []string {
	var l nearList
	for _, t := range texts {
		l.add(func() string { return t })
	}
	return l.list()
}

// namesakes are stored certificates with the subject of c, which is self-signed and not stored.
func (j *judgement) namesakes(c *Certificate) []string {
	var near nearList
	if j.store() == nil {
		return nil
	}
	for _, d := range j.store().pool.bySubject[c.subject] {
		near.add(func() string {
			switch {
			case d.x == nil:
				return fmt.Sprintf("a certificate with this subject is in %s, but it does not parse: %s", j.store(), d.err)
			case c.sameAuthority(d):
				return fmt.Sprintf("a certificate with this subject and key is in %s, but it is not this one: serial %s, valid until %s", j.store(), SerialText(d.x.SerialNumber), day(d.x.NotAfter))
			default:
				return fmt.Sprintf("a certificate with this subject is in %s, with another key (key id %s)", j.store(), keyID(d.x.SubjectKeyId))
			}
		})
	}
	return near.list()
}

// nearMisses are certificates with the name of c's issuer whose identifiers are not the ones in c.
func (j *judgement) nearMisses(c *Certificate) []string {
	var near nearList
	look := func(d *Certificate, where string) {
		if d.x == nil || d.equal(c) || c.identifies(d) {
			return
		}
		near.add(func() string {
			text := fmt.Sprintf("a CA with this subject is %s, its key identifier differs: %s, looked for %s", where, keyID(d.x.SubjectKeyId), keyID(c.x.AuthorityKeyId))
			if c.keyIDFits(d) {
				text = fmt.Sprintf("a CA with this subject is %s, but its issuer and serial number are not those in the authority key identifier: serial %s, looked for %s",
					where, SerialText(d.x.SerialNumber), SerialText(c.akiSerial))
			}
			// A few, so that this does not use up what the search may need.
			if len(near.texts) < 3 && j.search.checks < MaxSignatureChecks && j.search.signed(c, d) == signatureGood {
				text += "; its key did sign the certificate, so the identifier is wrong, not the key"
			}
			return text
		})
	}
	if j.store() != nil {
		for _, d := range j.store().pool.bySubject[c.issuer] {
			look(d, "in "+j.store().String())
		}
	}
	j.search.eachSent(c.issuer, func(d *Certificate) { look(d, "among the presented certificates") })
	return near.list()
}

// relatives are certificates that have something of c's issuer, but not its name.
func (s *search) relatives(c *Certificate) []string {
	var near nearList
	if s.v.Anchors == nil {
		return nil
	}
	for _, d := range s.v.Anchors.pool.bySubject[c.issuer] {
		if d.x == nil {
			near.add(func() string {
				return fmt.Sprintf("a certificate with this subject is in %s, but it does not parse: %s", s.v.Anchors, d.err)
			})
		}
	}
	if len(c.x.AuthorityKeyId) > 0 {
		for _, d := range s.v.Anchors.pool.byKeyID[string(c.x.AuthorityKeyId)] {
			if d.subject != c.issuer {
				near.add(func() string {
					return fmt.Sprintf("a certificate with this key identifier is in %s, its subject differs: %s", s.v.Anchors, d.Subject())
				})
			}
		}
	}
	return near.list()
}
