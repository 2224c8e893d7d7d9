package cli

import "github.com/spf13/cobra"

func (e *env) subjectCommand() *cobra.Command { return group("subject", "Subject settings of nodes: what requests say beside the common name") }
