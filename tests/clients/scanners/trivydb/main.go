// Command trivydb FOLDER FIXTURES... fills a database of Trivy's with fixtures: what the buckets have in them, in
// YAML, as Trivy's own tests have it. It is built within Trivy's module, with the versions that Trivy is built with.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	fixtures "github.com/aquasecurity/bolt-fixtures"
	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
)

func main() {
	if err := build(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func build(folder string, files []string) error {
	loader, err := fixtures.New(filepath.Join(folder, "trivy.db"), files)
	if err != nil {
		return err
	}
	if err := loader.Load(); err != nil {
		return err
	}
	if err := loader.Close(); err != nil {
		return err
	}
	now := time.Now()
	return metadata.NewClient(folder).Update(metadata.Metadata{
		Version:    db.SchemaVersion,
		UpdatedAt:  now,
		NextUpdate: now.Add(24 * time.Hour),
	})
}
