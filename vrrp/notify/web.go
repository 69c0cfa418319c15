package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// maxAnswer is how much of an answer is read, in bytes; maxHeader bounds its
	// header.
	maxAnswer, maxHeader = 64 << 10, 64 << 10
	// maxRedirects is how many are followed for one POST.
	maxRedirects = 3
)

// pauses are those before the second and further tries of a POST.
var pauses = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}

// web posts a JSON object for each event.
type web struct {
	target Target
	client *http.Client
	pauses []time.Duration
}

func newWeb(t Target) *web {
	return &web{target: t, pauses: pauses, client: &http.Client{
		Timeout:       t.timeout(),
		CheckRedirect: follow,
		Transport: &http.Transport{
			DisableKeepAlives:      true, // events are rare
			MaxResponseHeaderBytes: maxHeader,
			ForceAttemptHTTP2:      true,
		},
	}}
}

// follow allows a redirect that keeps the method, and so the event, and the scheme.
func follow(req *http.Request, via []*http.Request) error {
	switch {
	case req.URL.Scheme != via[0].URL.Scheme:
		return fmt.Errorf("redirected from %s to %s, which is not followed", via[0].URL.Scheme, req.URL.Scheme)
	case len(via) > maxRedirects:
		return fmt.Errorf("redirected more than %d times", maxRedirects)
	case req.Method != http.MethodPost:
		return http.ErrUseLastResponse
	}
	return nil
}

func (w *web) send(ctx context.Context, e Event, _ func(error)) error {
	body, err := e.body(w.target.RouterID)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	for try := 0; ; try++ {
		again, err := w.post(ctx, body)
		if err == nil {
			return nil
		}
		if !again || try >= len(w.pauses) || !pause(ctx, w.pauses[try]) {
			return fmt.Errorf("post to %s: %w (try %d)", w.target, err, try+1)
		}
	}
}

// post tries once. again reports whether another try may help.
func (w *web) post(ctx context.Context, body []byte) (again bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.target.URL, bytes.NewReader(body))
	if err != nil {
		return false, reveal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "understudy")
	resp, err := w.client.Do(req)
	if err != nil {
		return true, reveal(err)
	}
	defer resp.Body.Close()
	// Whoever answers has heard; what else it says is only read out of politeness.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	switch code := resp.StatusCode; {
	case code >= 200 && code <= 299:
		return false, nil
	default:
		again := code >= 500 || code == http.StatusRequestTimeout || code == http.StatusTooManyRequests
		return again, fmt.Errorf("answered %d %s", code, http.StatusText(code))
	}
}

// reveal strips the URL from an error: there may be a secret in it.
func reveal(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}

// pause waits, and reports whether ctx is still going on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *web) close() { w.client.CloseIdleConnections() }
