// Package handset is the phone side for tests and load: a Phone keeps its key and certificate in a directory and enrols
// over the wire with a capf.Client, by string or by certificate, and as a bad one when it is told to (Answer); Load makes many of them call at once and measures.
package handset
