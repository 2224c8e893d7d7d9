// Package upload judges certificates before they are put into service on a call manager, or into one of its trust
// stores. It is a function of what it is given: the file, the request that waits, the trust store, a policy and a time; it
// reads and stores nothing.
//
// An identity certificate goes through 18 checks in a fixed order. The first that fails gives the code and the message,
// which are the call manager's own where those are known; all that fail are in Result.Reasons with the compared values and
// likely causes. A file may bring its CA certificates along: they are put into the trust store first, by the rules of
// that store, and then the certificate is checked. A refused file changes nothing.
//
// Paths are built and judged by the package chain, with the key identifiers as well as the names: a store may have two CAs
// of one name.
//
//	file, err := upload.ReadFrom(r)
//	result := (&upload.Judge{Purpose: "tomcat", Request: pending, Trust: store, At: now}).Judge(file)
//	if result.Verdict == upload.Rejected { ... result.Code, result.Message ... }
package upload
