package certfile

import (
	"errors"
	"fmt"
	"net/http"

	"callsign/cmc"
)

// pkcs7 adds the certificates and revocation lists of a PKCS #7 bundle. Its content and signatures are of no interest.
func (p *parser) pkcs7(at place, data []byte) {
	bag, err := cmc.ReadBag(data, MaxBytes, MaxObjects)
	if problem, ok := errors.AsType[*cmc.Problem](err); ok && problem.HTTP == http.StatusRequestEntityTooLarge {
		p.full = true
		return
	}
	if err != nil {
		p.fail(at, &Error{
			ErrCode: CodeDamaged, Detail: "the PKCS #7 bundle cannot be read", Err: err,
			Fix: "export it again as certificates only (.p7b), or convert it: openssl pkcs7 -print_certs -in FILE -out certificates.pem",
		})
		return
	}
	if len(bag.Certificates)+len(bag.CRLs) == 0 {
		p.fail(at, &Error{
			ErrCode: CodeEmpty, Detail: "the PKCS #7 bundle holds no certificate and no revocation list",
			Fix: "export it again with the certificates included",
		})
	}
	for _, members := range []struct {
		kind Kind
		ders [][]byte
	}{{Certificate, bag.Certificates}, {RevocationList, bag.CRLs}} {
		for i, der := range members.ders {
			at.name = fmt.Sprintf("%s %d of the bundle", members.kind, i+1)
			p.take(at, members.kind, der)
		}
	}
}
