package cli

import "github.com/spf13/cobra"

func (e *env) capfCommand() *cobra.Command {
	return group("capf", "CAPF: who signs, what waits to be signed, who holds what", e.capfStatus(), e.capfImpact(),
		e.capfCA(), e.capfCSR(), e.capfStale())
}
