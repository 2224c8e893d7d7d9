// Package enrolltest has what tests of enrolment share: [RunJournal], the suite that every enroll.Journal passes, and [Memory], a
// journal without a disk that passes it.
package enrolltest
