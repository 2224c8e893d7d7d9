// Package trace renders Callsign's log events in the line formats of the products that it replaces, so that existing
// analysers and habits keep working: the CAPF trace, the start log of the Cisco RA ("nginx.txt") and nginx's error.log
// with libEST's lines.
//
// A Handler is a slog.Handler beside the one that writes the structured log (slog.NewMultiHandler joins them). It looks
// at the attribute "event" of a record, takes the other attributes by name, and writes the lines that the original
// writes at that point, letter for letter, its spelling mistakes included. Records without the attribute, and events
// for which the original has no public line, cost one comparison and write nothing. The package imports no room; the
// names of events and attributes are the contract:
//
//	capf.issuer capf.online_ca capf.ra_started capf.est_setup capf.est_ready          start of the CAPF service
//	capf.enroll capf.enrolled capf.enroll_failed capf.certificate_ready capf.store_sent  one enrolment
//	capf.result capf.fetched capf.end_session                                          its result
//	ra.start ra.anchor ra.pop_disabled ra.pid ra.chain_ready ra.chain_failed           start of the RA
//	certsrv.login certsrv.login_failed certsrv.page certsrv.cacerts certsrv.cacerts_failed   the RA at the CA
//	est.handshake est.auth_failed est.failed est.request                               the RA's clients
//
// Where a line asserts what we cannot know, it follows the original in shape only: file names in the CAPF trace are those
// the original would use, the versions in the start log are the original's, and "TLS: no peer certificate" is written at
// the handshake unless the event says otherwise. Requests of the RA to the CA carry the connection's number and the tail
// "while SSL EST handshaking" when the event names the peer they are made for.
//
// A certificate that a phone shows for Troubleshoot (capf.fetched, attribute "certificate" in DER) also becomes a file of
// its own in the directory of Files.
//
// A Handler is safe for concurrent use; the lines of one event are written by one Write to each file. Files follow
// rotation by themselves: logrotate needs neither copytruncate nor a signal.
package trace
