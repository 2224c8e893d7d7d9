// Package purpose is what is known of each certificate purpose and trust store of a call manager cluster: on which nodes it
// is, which key and key usage it has, how it is named, where its issuers are kept, and what has to be restarted when
// it changes.
//
// The facts are data, table.json: sections 2 to 4 and 13 of the description of cluster certificates that the project
// follows, with the cells of the key usage table as they are in release 15 and 12.5. Packages that judge, make or plan
// certificates read them here and nowhere else.
package purpose
