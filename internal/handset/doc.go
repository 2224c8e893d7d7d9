// Package handset is the phone side for tests and load: a Phone keeps its key and certificate in a directory and enrols
// over the wire with a capf.Client, by string or by certificate, and badly when its Answer says so; Load makes many of
// them call at once, also beside connections that say nothing, and measures.
package handset
