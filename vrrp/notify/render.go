package notify

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Placeholders are the words that stand for a part of the event, in braces, in
// the arguments of a command.
var Placeholders = []string{
	"name", "kind", "state", "from", "reason", "priority", "interface", "vrid", "time", "router_id", "KIND", "STATE",
}

// value returns what a placeholder stands for.
func (e Event) value(word, routerID string) string {
	switch word {
	case "name":
		return e.Name
	case "kind":
		return e.Kind.String()
	case "state":
		return e.To.String()
	case "from":
		return e.From.String()
	case "reason":
		return e.Reason
	case "priority":
		return strconv.Itoa(int(e.Priority))
	case "interface":
		return e.Interface
	case "vrid":
		if e.Kind == KindGroup {
			return ""
		}
		return strconv.Itoa(int(e.VRID))
	case "time":
		return e.At.UTC().Format(time.RFC3339Nano)
	case "router_id":
		return routerID
	case "KIND":
		return e.keepalivedKind()
	case "STATE":
		return strings.ToUpper(e.To.String())
	}
	return ""
}

// keepalivedKind is what keepalived calls the subject.
func (e Event) keepalivedKind() string {
	if e.Kind == KindGroup {
		return "GROUP"
	}
	return "INSTANCE"
}

var placeholder = regexp.MustCompile(`\{[A-Za-z_]+\}`)

// Unknown returns the words in braces in an argument that are no placeholders.
func Unknown(arg string) []string {
	var words []string
	for _, m := range placeholder.FindAllString(arg, -1) {
		if !slices.Contains(Placeholders, m[1:len(m)-1]) {
			words = append(words, m)
		}
	}
	return words
}

// arguments returns the command with the event in it. What is put in is not
// looked through again. The program itself has no placeholders.
func (e Event) arguments(command []string, routerID string) []string {
	args := slices.Clone(command)
	for i := range args {
		if i == 0 {
			continue
		}
		args[i] = placeholder.ReplaceAllStringFunc(args[i], func(m string) string {
			if word := m[1 : len(m)-1]; slices.Contains(Placeholders, word) {
				return e.value(word, routerID)
			}
			return m
		})
	}
	return args
}

// environment returns the event as variables.
func (e Event) environment(routerID string) []string {
	var env []string
	for _, word := range Placeholders {
		if word != strings.ToLower(word) {
			continue
		}
		value := e.value(word, routerID)
		env = append(env, "UNDERSTUDY_"+strings.ToUpper(word)+"="+strings.ReplaceAll(value, "\x00", "?"))
	}
	return env
}

// line returns the event as keepalived writes it to a pipe.
func (e Event) line() []byte {
	name := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, e.Name)
	return fmt.Appendf(nil, "%s \"%s\" %s %d\n", e.keepalivedKind(), name, strings.ToUpper(e.To.String()), e.Priority)
}

// message is the body of a POST.
type message struct {
	Kind      string    `json:"kind"`
	Name      string    `json:"name"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	Reason    string    `json:"reason"`
	Priority  uint8     `json:"priority"`
	Interface string    `json:"interface,omitempty"`
	VRID      uint8     `json:"vrid,omitempty"`
	Time      time.Time `json:"time"`
	RouterID  string    `json:"router_id,omitempty"`
}

// body returns the event as a JSON object.
func (e Event) body(routerID string) ([]byte, error) {
	return json.Marshal(message{
		Kind: e.Kind.String(), Name: e.Name, From: e.From.String(), To: e.To.String(), Reason: e.Reason,
		Priority: e.Priority, Interface: e.Interface, VRID: e.VRID, Time: e.At.UTC(), RouterID: routerID,
	})
}
