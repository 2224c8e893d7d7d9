// Package cli is the command tree of callsign: one file per noun. Commands parse flags, call the rooms and print;
// results go to stdout, everything else to stderr.
//
// Exit codes: 0 success; 1 operation failed; 2 usage or configuration error; 3 checked and found problems; 4 partial
// success; 5 timeout or peer unreachable; 6 denied; 7 pending; 130 interrupted.
package cli
