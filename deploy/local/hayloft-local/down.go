package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"hayloft.dev/deploy/local/stack"
)

func downCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "down --dir DIR",
		Short: "end the stack of a folder and wait until it is gone",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ended, err := stack.Down(cmd.Context(), dir)
			if err != nil {
				return err
			}
			if ended {
				fmt.Fprintln(cmd.OutOrStdout(), "ended")
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), "no stack is running in", dir)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the stack's folder")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	return cmd
}
