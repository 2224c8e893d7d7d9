// Package enterprise is a simulated enterprise for those who have none at hand: a root CA, an issuing CA that may have
// been renewed and publishes revocation lists, an account with its password, certificate templates, and the web server
// of AD CS web enrollment (certsrv/certsrvtest) on a listener with a certificate of that CA. `callsign sim adcs` runs it
// alone, for any client of /certsrv; `callsign demo` puts the product in front of it.
//
// Everything is kept in a directory, so that the same CA comes up again with its requests and their numbers:
//
//	enterprise.json                marks the directory as one of these
//	root.pem, root.key             the root
//	ca-0.pem, ca-0.key, ca-1.pem   the issuing CA: first certificate, first renewal, ...
//	ca.pem                         the newest of them and the root: what clients trust
//	agent.pem, agent.key           an enrollment agent, who may ask for others
//	password.txt                   of the account, mode 0600, unless the caller has one
//	requests.jsonl                 the requests
//	logs/u_exYYMMDD.log            the web server's log, as IIS writes it
//
// [Behaviour] makes it fail as real ones do: its words concern the web server's certificate, those of certsrvtest
// everything behind it. Templates with the names that AD CS ships (WebServer, EnrollmentAgent, SubCA) certify what they
// certify there; any other name is a template for phones.
//
// Keys lie unencrypted in the directory, and whoever knows the account gets a certificate for any name: nothing outside
// of tests may trust this CA.
//
// An Enterprise is safe for concurrent use.
package enterprise
