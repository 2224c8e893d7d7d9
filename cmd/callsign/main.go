// Command callsign gives IP phones and other EST devices certificates from the enterprise's own CA. Everything it does
// lives in packages; see callsign/internal/cli for the commands.
package main

import (
	"os"

	"callsign/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
