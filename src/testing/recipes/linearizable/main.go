// Whether a history of reads and versioned writes of znodes, as linearizable.rs writes it down, is linearizable: asked of
// porcupine. Each znode is a register of a version and a value. Says so, and ends with 0 only if it is.
//
// One operation a line: znode, client, time of the call, time of the answer, then
//
//	read VERSION VALUE
//	set EXPECTED-VERSION VALUE done|refused|unknown
package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type register struct{ version, value int }

type operation struct {
	znode, kind, outcome string
	version, value       int
}

func step(state, input, _ interface{}) (bool, interface{}) {
	now, op := state.(register), input.(operation)
	next := register{op.version + 1, op.value}
	switch {
	case op.kind == "read":
		return now == register{op.version, op.value}, now
	case op.outcome == "done":
		return now.version == op.version, next
	case op.outcome == "refused":
		return now.version != op.version, now
	// Nobody knows whether it was carried out. Versions only grow: as long as its version is to come it can wait, and once
	// that is past it has had no effect and will have none.
	case now.version == op.version:
		return true, next
	default:
		return now.version > op.version, now
	}
}

func partition(history []porcupine.Operation) [][]porcupine.Operation {
	parts := map[string][]porcupine.Operation{}
	for _, op := range history {
		znode := op.Input.(operation).znode
		parts[znode] = append(parts[znode], op)
	}
	all := [][]porcupine.Operation{}
	for _, part := range parts {
		all = append(all, part)
	}
	return all
}

func main() {
	history, unknown := []porcupine.Operation{}, 0
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var op operation
		var client int
		var call, back int64
		n, _ := fmt.Sscan(lines.Text(), &op.znode, &client, &call, &back, &op.kind, &op.version, &op.value, &op.outcome)
		if n < 7 || op.kind == "set" && n < 8 {
			fmt.Fprintf(os.Stderr, "not an operation: %s\n", lines.Text())
			os.Exit(2)
		}
		if op.outcome == "unknown" {
			// No answer ever: it may be carried out at any time from now on.
			unknown++
			back = math.MaxInt64
		}
		history = append(history, porcupine.Operation{ClientId: client, Input: op, Call: call, Return: back})
	}
	model := porcupine.Model{
		Partition: partition,
		Init:      func() interface{} { return register{0, 0} },
		Step:      step,
	}
	result := porcupine.CheckOperationsTimeout(model, history, 60*time.Second)
	fmt.Printf("porcupine: %s: %d operations, %d of them with unknown outcome\n", result, len(history), unknown)
	if result != porcupine.Ok {
		os.Exit(1)
	}
}
