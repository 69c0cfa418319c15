package health

import "testing"

func TestParseStatus(t *testing.T) {
	tests := []struct {
		in   string
		want string // empty: an error
	}{
		{"200", "200"},
		{"200-299", "200-299"},
		{"200-299,304", "200-299,304"},
		{" 304 , 200 - 299 ", "200-299,304"},
		{"200-250,240-299", "200-299"},
		{"200-299,300", "200-300"},
		{"200,200", "200"},
		{"100-599", "100-599"},
		{"200-299,210", "200-299"},
		{"", ""},
		{",", ""},
		{"200,", ""},
		{"99", ""},
		{"600", ""},
		{"299-200", ""},
		{"200-", ""},
		{"-200", ""},
		{"2xx", ""},
		{"+200", ""},
		{"200-250-299", ""},
		{"18446744073709551816", ""},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			codes, err := ParseStatus(test.in)
			if got := codes.String(); got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("ParseStatus(%q) = %q, %v, want %q", test.in, got, err, test.want)
			}
		})
	}
}

func TestCodesContains(t *testing.T) {
	codes, err := ParseStatus("200-204,301,404")
	if err != nil {
		t.Fatal(err)
	}
	for code, want := range map[int]bool{0: false, 199: false, 200: true, 204: true, 205: false, 300: false, 301: true, 302: false, 404: true, 405: false} {
		if codes.Contains(code) != want {
			t.Errorf("Contains(%d) = %v", code, !want)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("200-299,304")
	f.Add(" 599 ,100-100")
	f.Fuzz(func(t *testing.T, text string) {
		codes, err := ParseStatus(text)
		if err != nil {
			return
		}
		again, err := ParseStatus(codes.String())
		if err != nil || again.String() != codes.String() {
			t.Fatalf("%q is canonically %q, and that is %q, %v", text, codes, again, err)
		}
		for code := range 700 {
			if codes.Contains(code) != again.Contains(code) || codes.Contains(code) && (code < 100 || code > 599) {
				t.Fatalf("%q contains %d: %v", text, code, codes.Contains(code))
			}
		}
	})
}
