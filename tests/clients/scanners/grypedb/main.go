// Command grypedb FOLDER PROVIDERS builds a database of Grype's, and an archive to import, from what vunnel's
// providers give: PROVIDERS has a folder of JSON files for each. It is built within Grype's module.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/anchore/grype/grype/db"
	"github.com/anchore/grype/grype/db/provider"
	v6 "github.com/anchore/grype/grype/db/v6"
)

func main() {
	if err := build(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(folder, providers string) error {
	found, err := os.ReadDir(providers)
	if err != nil {
		return err
	}
	now := time.Now()
	var states provider.States
	for _, entry := range found {
		state, err := workspace(filepath.Join(folder, "workspaces"), filepath.Join(providers, entry.Name()), now)
		if err != nil {
			return err
		}
		states = append(states, *state)
	}
	// NVD first: its severities are those of all advisories that come after it and tell none.
	slices.SortStableFunc(states, func(a, b provider.State) int { return rank(a) - rank(b) })
	database := filepath.Join(folder, "database")
	if err := os.MkdirAll(database, 0o755); err != nil {
		return err
	}
	err = db.Build(db.BuildConfig{
		SchemaVersion:   v6.ModelVersion,
		Directory:       database,
		States:          states,
		Timestamp:       now,
		IncludeCPEParts: []string{"a", "h", "o"},
		Hydrate:         true,
	})
	if err != nil {
		return err
	}
	return db.Package(database, "", "tar.gz", nil)
}

func rank(state provider.State) int {
	if state.Provider == "nvd" {
		return 0
	}
	return 1
}

// workspace is a provider's folder as vunnel leaves it: results, and a state that lists them.
func workspace(root, results string, now time.Time) (*provider.State, error) {
	name := filepath.Base(results)
	writer := provider.NewWorkspaceWriter(root, name)
	paths, err := filepath.Glob(filepath.Join(results, "*.json"))
	if err != nil {
		return nil, err
	}
	var files []provider.File
	for _, path := range paths {
		file, err := writer.CopyResultFrom(path)
		if err != nil {
			return nil, err
		}
		files = append(files, *file)
	}
	if err := writer.WriteListing(files); err != nil {
		return nil, err
	}
	state := provider.State{
		Provider:  name,
		Version:   1,
		Processor: "vunnel",
		Timestamp: now,
		Store:     "flat-file",
		Listing:   &provider.File{Path: "results/listing.xxh64", Algorithm: "xxh64"},
	}
	if err := writer.WriteState(state); err != nil {
		return nil, err
	}
	return provider.NewWorkspace(root, name).ReadState()
}
