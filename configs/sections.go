package configs

import "bytes"

// sections is how files are read in sections: every [[service]] by itself,
// which is built before the next is read, into the memory of the last. So a
// configuration of ten thousand servers takes little more than its Config. It
// has no say where something is amiss: then the files are read again as a whole.
type sections struct {
	index  index
	source source
	odd    bool // a file cannot be read in sections
}

// loadSections returns nil where there may be anything to complain about.
func loadSections(file string, read func(l *loader)) *Config {
	l := newLoader()
	l.sections = &sections{}
	if read(l); l.spoiled() {
		return nil
	}
	config, _ := l.finish(file)
	if l.spoiled() {
		return nil
	}
	return config
}

// spoiled reports whether what was read in sections is not to be used: where
// there are errors, only the files as a whole show all of them, and where there
// are too many warnings to show, it depends on the order which those are.
func (l *loader) spoiled() bool {
	return l.errors > 0 || l.full() || l.sections.odd
}

// section is the text of one [[service]], with all that is below it.
type section struct {
	line int // of its header
	text []byte
}

// remains is what is left of a file that sections were cut out of.
type remains struct {
	text []byte // has a line for each of the file, empty ones for the sections
	runs []int  // lines at which a run of sections begins: their headers still stand in text
}

var serviceHeader = []byte("[[service]]")

// split cuts the sections out of a file. It knows the looks of a header only.
// Where it takes for one what is not, an array or a text is open in what comes
// before: that is then refused by the parser, or by complete.
func split(data []byte) (remains, []section) {
	rest := remains{text: make([]byte, 0, bytes.Count(data, []byte("\n"))+512)}
	services := make([]section, 0, bytes.Count(data, serviceHeader))
	within := false
	for line := 1; len(data) > 0; line++ {
		text := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			text = data[:i+1]
		}
		head := bytes.TrimLeft(text, " \t")
		first := false // of a run
		switch {
		case bytes.HasPrefix(head, serviceHeader):
			first, within = !within, true
			services = append(services, section{line: line, text: data[:0]})
		case bytes.HasPrefix(head, []byte("[")):
			within = within && (bytes.HasPrefix(head, []byte("[service.")) || bytes.HasPrefix(head, []byte("[[service.")))
		}
		if within {
			s := &services[len(services)-1]
			s.text = s.text[:len(s.text)+len(text)]
		}
		switch {
		case first:
			rest.runs = append(rest.runs, line)
			rest.text = append(append(rest.text, serviceHeader...), '\n')
		case within:
			rest.text = append(rest.text, '\n')
		default:
			rest.text = append(rest.text, text...)
		}
		data = data[len(text):]
	}
	return rest, services
}

// complete reports whether the tree of the remains shows that the sections
// began where a table can begin, and that they are all services there are. It
// takes what stands for them out of the tree.
func (r remains) complete(tree map[string]any, at *place) bool {
	v, given := tree["service"]
	if !given {
		return len(r.runs) == 0
	}
	headers, ok := asTables(v)
	if !ok || len(headers) != len(r.runs) {
		return false
	}
	for i, line := range r.runs {
		if len(headers[i]) > 0 || at.key("service").item(i).line != line {
			return false
		}
	}
	delete(tree, "service")
	return true
}

// buildSections reads and builds the services of the file called name, one by
// one.
func (l *loader) buildSections(name string, services []section) {
	if len(services) == 0 {
		return
	}
	l.expect(len(services))
	src := &l.sections.source
	src.file, src.report = name, l.report
	for _, s := range services {
		if l.spoiled() {
			return
		}
		tree, at, ok := l.decode(name, &l.sections.index, s.text, s.line, true)
		if !ok {
			return
		}
		tables, _ := asTables(tree["service"])
		if len(tables) != 1 {
			l.sections.odd = true
			return
		}
		src.records.reset()
		l.service(src.read("[[service]]", serviceKeys, tables[0], at.key("service").item(0)))
	}
}
