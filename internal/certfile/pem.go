package certfile

import (
	"bytes"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

const (
	pemBegin  = "-----BEGIN "
	pemEnd    = "-----END "
	pemDashes = "-----"
)

// block is a PEM block (RFC 7468) while it is read.
type block struct {
	at        place
	body      []byte // base64 without white space
	encrypted bool   // headers of RFC 1421 say so
	badLine   int    // first line with something else than base64; 0 for none
}

// pem reads every block by itself: encoding/pem skips a damaged block without a word, and the user would wonder where a
// certificate went. Lines outside of blocks are passed over.
func (p *parser) pem(text []byte) {
	p.contents.PEM = true
	var b block
	open, found := false, false
	number := 0
	for line := range lines(text) {
		if p.full {
			return
		}
		number++
		for rest := bytes.TrimSpace(line); len(rest) > 0; {
			var piece []byte
			piece, rest = cutMarker(rest, open)
			switch {
			case bytes.HasPrefix(piece, []byte(pemBegin)):
				if open {
					p.fail(b.at, damaged("the PEM block has no END line", nil))
				}
				b = block{at: place{line: number, label: label(piece, pemBegin)}, body: b.body[:0]}
				open, found = true, true
			case !open:
			case bytes.HasPrefix(piece, []byte(pemEnd)):
				open = false
				p.endBlock(&b, label(piece, pemEnd))
			default:
				b.addLine(piece, number)
			}
		}
	}
	switch {
	case open:
		p.fail(b.at, damaged("the PEM block has no END line: the file is cut off", nil))
	case !found:
		p.fail(place{}, damaged("has no complete PEM block", nil))
	}
}

// cutMarker cuts a line where a BEGIN or END marker ends or, inside of a block, begins: files put together without line
// ends between them, or pasted into one line, have several in a line.
func cutMarker(line []byte, inBlock bool) (piece, rest []byte) {
	if bytes.HasPrefix(line, []byte(pemBegin)) || bytes.HasPrefix(line, []byte(pemEnd)) {
		if i := bytes.Index(line[len(pemDashes):], []byte(pemDashes)); i >= 0 {
			end := i + 2*len(pemDashes)
			return line[:end], bytes.TrimSpace(line[end:])
		}
		return line, nil
	}
	if i := bytes.Index(line, []byte(pemDashes)); inBlock && i > 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// label returns the PEM type in a marker, "" when the marker is damaged.
func label(marker []byte, prefix string) string {
	name, ok := bytes.CutSuffix(marker[len(prefix):], []byte(pemDashes))
	if !ok {
		return ""
	}
	return string(name)
}

// addLine adds a line between BEGIN and END.
func (b *block) addLine(line []byte, number int) {
	if len(b.body) == 0 && bytes.IndexByte(line, ':') > 0 {
		b.encrypted = b.encrypted || bytes.HasPrefix(line, []byte("DEK-Info:")) ||
			bytes.HasPrefix(line, []byte("Proc-Type:")) && bytes.Contains(line, []byte("ENCRYPTED"))
		return
	}
	for _, c := range line {
		switch {
		case isBase64(c):
			b.body = append(b.body, c)
		case c != ' ' && c != '\t' && b.badLine == 0:
			b.badLine = number
		}
	}
}

// endBlock decodes a complete block and adds what it holds.
func (p *parser) endBlock(b *block, endLabel string) {
	if b.at.label == "" || b.at.label != endLabel {
		p.fail(b.at, damaged("the PEM block's BEGIN and END lines are damaged or do not belong together", nil))
		return
	}
	if b.badLine > 0 {
		p.fail(b.at, damaged(fmt.Sprintf("the PEM block does not decode: line %d is not base64 text", b.badLine), nil))
		return
	}
	der, err := decodeBase64(b.body)
	if err != nil {
		p.fail(b.at, damaged("the PEM block does not decode: its base64 text is damaged", err))
		return
	}
	p.block(b.at, der, b.encrypted)
}

// block adds what a decoded block holds.
func (p *parser) block(at place, der []byte, encrypted bool) {
	switch at.label {
	case "CERTIFICATE", "X509 CERTIFICATE", "X.509 CERTIFICATE":
		// Microsoft's certificate authorities label whole chains like this.
		if isContentInfo(der) {
			p.pkcs7(at, der)
			return
		}
		p.take(at, Certificate, der)
	case "TRUSTED CERTIFICATE":
		// The certificate is followed by OpenSSL's trust settings, which mean nothing to us.
		in := cryptobyte.String(der)
		var cert cryptobyte.String
		if !in.ReadASN1Element(&cert, cbasn1.SEQUENCE) || !isSigned(cert) {
			p.fail(at, &Error{
				ErrCode: CodeUnsupported, Detail: "the block in OpenSSL's TRUSTED CERTIFICATE form does not begin with a certificate",
				Fix: "convert it: openssl x509 -in FILE -out certificate.pem",
			})
			return
		}
		p.take(at, Certificate, cert)
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		p.take(at, Request, der)
	case "X509 CRL", "CRL":
		p.take(at, RevocationList, der)
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		if encrypted {
			p.encryptedKey(at)
			return
		}
		p.take(at, PrivateKey, der)
	case "ENCRYPTED PRIVATE KEY":
		p.encryptedKey(at)
	case "PKCS7", "CMS", "PKCS #7 SIGNED DATA":
		p.pkcs7(at, der)
	default:
		p.add(at, Object{Kind: Other})
	}
}
