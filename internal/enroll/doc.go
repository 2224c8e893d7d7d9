// Package enroll is the enrolment engine and its journal: from a request to a certificate exactly once, with retry,
// pending and resume. It knows no phone and no EST: a row carries an opaque owner.
//
// # Rows
//
// A request becomes a row of the [Journal] before its authority is asked. The row then goes
//
//	(held ->) requested -> submitted -> (pending ->) issued -> confirmed
//
// or ends denied, failed or stale. Each step is on disk before the next begins: the row before the authority hears of it, the
// authority's request number as soon as it is known, the certificate before anybody gets it. So a process that dies at any
// point leaves a row from which the next one goes on, and an authority that keeps its side (see [ca.Ledger]) issues once.
//
// A row of a [ca.Private] authority may begin as issued. The row comes first so that no certificate which somebody else knows of is
// forgotten or issued twice; nobody knows of one that a private authority has signed until it is handed out, and that is still after it is on record.
//
// Two requests with the same authority, owner, label, subject and public key are one request: while the first one's row is
// live (held, requested, submitted, pending or issued) the second gets that row. [Admit] has the whole rule.
//
// # Held requests
//
// A request with [Request].Hold waits for an administrator of ours: its row begins as held, and no authority is asked, also
// not a private one, before [Engine.Approve], which makes the row requested. [Engine.Deny] makes it denied, and the same request
// gets that answer again. Both may be called in another process than the one that runs the engine. Held rows are live but
// not open: whoever enrols gets them back at once, and no place, no turn and no attempt is spent on them. The decision stays
// in the row. What nobody decides on fails after Engine.HeldFor.
//
// # Journal writes
//
// An enrolment that goes well at a private authority (the local one with its key in memory) costs two commits: the row with the
// certificate, and the confirmation, which the owner's room makes part of its own transaction or leaves to [Engine.Confirm]. At another
// authority the row and the certificate are a commit each, and there is one more for each [ca.Ledger] record.
//
// # Rates
//
// An authority may have a rate ([Engine].Rates), which the engine keeps exactly: one new request at a time, an interval apart, and the first
// one an interval after the start, so that neither a crowd of callers nor a series of restarts exceeds it. A request that has to
// wait is on record as requested. Who waits for it longer than he can finds it issued at his next call, because [Engine.Run] takes up what
// nobody waits for; callers who are waiting come first, in the order in which they came. A private authority with a rate signs nothing before there is a row.
//
// # Answers from outside
//
// [Engine.Settle] brings an answer that came by another way, as a certificate that people had signed with an offline CA. It may be called in
// another process than the one that runs the engine.
//
// # Concurrency
//
// An [Engine] is safe for concurrent use. Within a process a row is worked by one goroutine at a time. Two processes on
// one journal do each other no harm (every update names the version that it changes) but may do the same work twice; run
// the sweep, [Engine.Run], in one.
//
// # Events
//
// Every durable write is framed by two log records with an attribute "event": enroll.write before it (level debug, attribute
// "write" tells which) and after it one of enroll.held, enroll.approved, enroll.requested, enroll.submitted, enroll.recorded,
// enroll.issued, enroll.pending, enroll.denied, enroll.failed, enroll.retry, enroll.confirmed, enroll.stale, enroll.dismissed. enroll.paced (level debug) tells that a
// request waits for the rate of its authority. All carry op, request_id (the row's ID),
// owner, ca and state; of a row on which an administrator decided also approved, decided_by and note: so enroll.denied tells
// whether he denied or the authority. Faults of our own are enroll.journal (a row cannot be read or written) and enroll.panic.
package enroll
