package config

// ParseWith is Parse with variables of the environment.
var ParseWith = parse
