package ipvsadm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxRules    = 1 << 20
	maxProblems = 20 // that are reported one by one
)

// Rule is a line of rules.
type Rule struct {
	Line    int
	Command Command
}

// ReadRules reads lines that are command lines each, with "ipvsadm" before them
// or without, as -S writes them. It returns all of them, or what is wrong.
// There is no quoting and there are no comments.
func ReadRules(ctx context.Context, in io.Reader, names *Names) ([]Rule, error) {
	var rules []Rule
	var wrong problems
	scanner := bufio.NewScanner(in)
	scanner.Buffer(nil, maxLine)
	line := 1
	for ; scanner.Scan(); line++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		args := strings.Fields(scanner.Text())
		if len(args) > 0 && args[0] == "ipvsadm" {
			args = args[1:]
		}
		if len(args) == 0 {
			continue
		}
		c, err := Parse(ctx, args, names)
		if err == nil {
			switch c.Verb {
			case Restore, Help, Version:
				err = fmt.Errorf("%s does not belong among rules", quoteOption(args[0]))
			}
		}
		switch {
		case err != nil:
			wrong.add(fmt.Errorf("line %d: %w", line, err))
		case len(rules) == maxRules:
			return nil, misuse("line %d: there are more than %d rules; restore them in parts", line, maxRules)
		default:
			rules = append(rules, Rule{Line: line, Command: c})
		}
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		wrong.add(fmt.Errorf("line %d: it is longer than %d bytes", line, maxLine))
	} else if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	if err := wrong.err(); err != nil {
		return nil, &Error{statusUsage, fmt.Errorf("nothing was changed, since these rules make no sense:\n%w", err)}
	}
	return rules, nil
}

// problems keeps the first few of many errors.
type problems struct {
	list []error
	more int
}

func (p *problems) add(err error) {
	if len(p.list) < maxProblems {
		p.list = append(p.list, err)
	} else {
		p.more++
	}
}

func (p *problems) err() error {
	if p.more > 0 {
		return errors.Join(append(p.list[:len(p.list):len(p.list)], fmt.Errorf("and %d more", p.more))...)
	}
	return errors.Join(p.list...)
}
