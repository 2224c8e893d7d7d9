// Package config reads Callsign's configuration: one TOML file, then conf.d/*.toml beside it in the order of their names,
// where a later file wins key by key, and at last the environment: CALLSIGN_CAPF_LISTEN stands for the key capf.listen.
// Sections [label.NAME] have the keys of a Profile and inherit from [ra] what they do not set.
//
// All keys with their defaults, limits and explanations stand in one table (keys*.go); Default, Load, Check, Reference,
// Render, Show and Changes are made from it. Load reports everything that is wrong at once, as Errors: unknown keys with the nearest
// known one, wrong values, and keys that the chosen issuer and listeners need. Paths are relative to the directory of the
// main file and come out joined with it. Passwords never stand in the configuration, only the names of their files.
//
// A Config is a plain value: reading it is safe for concurrent use, and a reload makes a new one.
package config
