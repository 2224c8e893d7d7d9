// Package chain builds and judges certificate paths, and explains every fault that it finds.
//
// It is one engine for every place where a certificate is looked at: what a TLS server presents, what a phone shows (MIC
// or LSC), what is uploaded into a trust store, what the CA's own web server has. It implements path validation of RFC
// 5280 section 6 and the name rules of RFC 9525, with the deviations that this field needs; parsing and the arithmetic
// of signatures are crypto/x509's.
//
// It differs from crypto/x509 Verify on purpose: the key identifiers of issuer and certificate have to agree, a stored
// certificate is an anchor only when it is self-signed by its names and key identifiers (unless the policy says otherwise;
// an anchor's own signature is not looked at), RSA keys below 2048 bits are refused, name constraints on directory names are applied, SHA-1 is accepted below anchors that are marked as
// manufacturers' issuers and nowhere else, and all faults are reported, with their depth, the values that were compared
// and what to do. A fault that follows from another one is folded under it.
//
//	store := chain.NewStore(roots...)
//	v := &chain.Verifier{Anchors: store}
//	result := v.Verify(presented, "cucm.example.com")
//	for _, f := range result.Faults {
//		fmt.Println(f.Code, f.Depth, f.Detail, f.Remedy)
//	}
//
// Codes of faults are the list in code.go and nothing else; rules, which say more exactly what was asked for, are the
// table in rule.go. Three profiles choose among the rules: Deployment for everyday use, Strict for what a conforming CA
// issues, WebPKI for certificates that public clients meet.
//
// Work is bounded: at most MaxSignatureChecks signatures are verified for one call, paths have at most MaxPathLength
// certificates, names are compared with name constraints for at most MaxConstraintComparisons units of work, and CRLs are
// read up to 512 MiB. What a message quotes of a certificate is cut at about 1000 octets, and control characters in it are
// replaced. Nothing is ever fetched.
//
// A Verifier, a Store and a Certificate may be used by several goroutines at once as long as nobody changes their fields.
package chain
