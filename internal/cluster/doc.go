// Package cluster keeps the certificates of a call manager cluster: the identity certificates of its nodes with their keys,
// the requests that wait for a certificate, and the trust stores.
//
// A [Cluster] is a description: nodes and what runs on them. A [Service] works on one cluster and on a [Store], which keeps
// what cannot be made again. A [Template] is a request or a self-signed certificate that was checked; it makes the key and
// the bytes and knows no store. Certificates are judged by the package upload, facts of purposes are in the package purpose.
//
// Private keys go into the store when they are made, together with what they belong to, and do not come out of it: a
// change says that a certificate takes the key of its request, and the store moves it. So a key and its certificate are
// there together or not at all, whatever ends the program.
//
// Changes are made on a revision of the cluster: when somebody else changed it in between, nothing is written and the
// caller looks again.
package cluster
