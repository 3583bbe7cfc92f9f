package stack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"hayloft.dev/deploy/local/ports"
	"hayloft.dev/deploy/local/proc"
)

const (
	coordinators = 2 // one leads, one waits

	hayloftTimeout = 60 * time.Second       // agents and coordinators answer in about a second
	hayloftPoll    = 100 * time.Millisecond // how often they are asked
	restartDelay   = time.Second            // as a kubelet's, but without growing: a person is watching
)

// program is one of Hayloft's processes and where it answers.
type program struct {
	spec proc.Spec
	url  string
}

// hayloftPrograms are one agent per node and the coordinators, each with an address of its own.
func hayloftPrograms(bin string, nodes []Node, kubeconfigs map[string]string, webhook, api *Service, logLevel string) (agents, leaders []program, err error) {
	common := []string{"--namespace", HayloftNamespace, "--longhorn-namespace", LonghornNamespace, "--log-level", logLevel}
	for _, node := range nodes {
		address, err := ports.Free("127.0.0.1")
		if err != nil {
			return nil, nil, err
		}
		agents = append(agents, program{url: "http://" + address, spec: proc.Spec{
			Kind: "agent", Name: node.Name, Path: filepath.Join(bin, "agent"),
			Args:   append([]string{"--kubeconfig", kubeconfigs[agentOf(node.Name)], "--node", node.Name, "--metrics-address", address}, common...),
			Labels: map[string]string{"node": node.Name, "address": address},
		}})
	}
	for i := range coordinators {
		address, err := ports.Free("127.0.0.1")
		if err != nil {
			return nil, nil, err
		}
		identity := fmt.Sprintf("coordinator-%d", i+1)
		args := []string{
			"--kubeconfig", kubeconfigs["coordinator"], "--identity", identity, "--listen", address,
			"--targetio", filepath.Join(bin, "targetio"), "--targetio-kubeconfig", kubeconfigs["targetio"],
		}
		if webhook != nil {
			args = append(args, "--webhook-listen", webhook.Backends[i], "--webhook-names", "127.0.0.1")
		}
		if api != nil {
			args = append(args, "--api-listen", api.Backends[i], "--api-names", "127.0.0.1")
		}
		leaders = append(leaders, program{url: "http://" + address, spec: proc.Spec{
			Kind: "coordinator", Name: identity, Path: filepath.Join(bin, "coordinator"),
			Args:   append(args, common...),
			Labels: map[string]string{"identity": identity, "address": address},
		}})
	}
	return agents, leaders, nil
}

// keepRunning starts a program and starts it again when it ends, until ctx ends.
func keepRunning(ctx context.Context, table *proc.Table, p program, say func(string, ...any)) {
	for ctx.Err() == nil {
		process, err := table.Start(p.spec)
		if errors.Is(err, proc.ErrStopped) {
			return
		}
		if err != nil {
			say("%v", err)
		} else {
			select {
			case <-ctx.Done():
				return // whoever ended ctx ends the table's processes
			case <-process.Done():
				say("%s %s ended (%v), starting it again", p.spec.Kind, p.spec.Name, process.Err())
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(restartDelay):
		}
	}
}

// waitAnswers waits until each program answers a GET of the path with 200.
func waitAnswers(ctx context.Context, programs []program, path string) error {
	ctx, cancel := context.WithTimeout(ctx, hayloftTimeout)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range programs {
		group.Go(func() error {
			for {
				err := answers(ctx, p.url+path)
				if err == nil {
					return nil
				}
				select {
				case <-ctx.Done():
					return fmt.Errorf("%s %s is not ready, see its log: %w", p.spec.Kind, p.spec.Name, err)
				case <-time.After(hayloftPoll):
				}
			}
		})
	}
	return group.Wait()
}

func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}
