package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const defaultPort = 8200 // Vault's own

func main() {
	once := flag.Bool("once", false, "connect an account, read its credential, then stop everything; "+
		"fails unless it was right")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *once); err != nil {
		fmt.Fprintln(os.Stderr, "dev:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, once bool) error {
	locate := stack.LocateInstalled
	if once {
		locate = stack.Locate // it is a test
	}
	tools, err := locate(ctx, os.Stderr)
	if err != nil {
		return err
	}
	var options stack.VaultOptions
	if !once {
		options.Port = preferredPort()
	}
	vault, err := stack.StartVaultDev(ctx, tools, options)
	if err != nil {
		return err
	}
	defer vault.Stop()
	d := demo{vault: vault}
	if d.services, err = stack.StartEmulate(ctx, tools, d.apps()); err != nil {
		return err
	}
	defer d.services.Stop()
	if err := d.configure(ctx); err != nil {
		return err
	}
	if err := d.admit(ctx); err != nil {
		return err
	}
	if err := d.connect(ctx); err != nil {
		return err
	}
	if once {
		if err := d.greet(ctx); err != nil {
			return err
		}
		return d.read(ctx)
	}
	if err := d.invite(ctx, os.Stdout); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-vault.Ended():
		return errors.New("the Vault ended by itself")
	}
}

// preferredPort is Vault's usual one if that and the next, for its cluster, are free; else any.
func preferredPort() int {
	for _, port := range []int{defaultPort, defaultPort + 1} {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return 0
		}
		_ = l.Close()
	}
	return defaultPort
}
