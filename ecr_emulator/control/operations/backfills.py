"""Operations on replication backfills."""

from __future__ import annotations

from ecr_emulator.control.operations import Input, Output
from ecr_emulator.control.paging import next_token, page_limit, split_page, start_of_page
from ecr_emulator.core import backfills
from ecr_emulator.core.call import Call
from ecr_emulator.core.emulator import Emulator
from ecr_emulator.core.registry import Registry
from ecr_emulator.metadata.backfills import Backfill, BackfillReplication

# The documentation of ListReplicationBackfills: up to 25 where maxResults is not used.
_LIST_LIMIT = 25


def _brief(backfill: Backfill) -> Output:
    return {
        "replicationBackfillId": backfill.id,
        "destination": {
            "region": backfill.destination_region,
            "registryId": backfill.destination_account,
        },
        "status": backfill.status,
        "startedAt": backfill.started_at,
    }


def _summary(backfill: Backfill, failure_codes: list[str]) -> Output:
    progress = None
    if backfill.total is not None:
        progress = {
            "totalReplicationCount": backfill.total,
            "completedReplicationCount": backfill.completed,
            "failedReplicationCount": backfill.failed,
            "failureCodes": failure_codes,
        }
    return {
        **_brief(backfill),
        "failureCode": backfill.failure_code,
        "progress": progress,
        "endedAt": backfill.ended_at,
    }


def _result(replication: BackfillReplication) -> Output:
    code = replication.failure_code
    return {
        "repositoryName": replication.repository_name,
        "imageId": {"imageDigest": replication.digest, "imageTag": replication.tag},
        "status": replication.status,
        "failureCode": code,
        # An index is copied with its images or not at all.
        "subImageFailureCodes": ([code] if code else []) if replication.is_index else None,
    }


async def start_replication_backfill(emulator: Emulator, call: Call, given: Input) -> Output:
    """Begin to copy the registry's images to a destination of its rules."""
    destination = Registry(given["destination"]["registryId"], given["destination"]["region"])
    backfill = await emulator.metadata.write(backfills.start, call, destination)
    return {**_brief(backfill), "registryId": call.registry.account}


async def stop_replication_backfill(emulator: Emulator, call: Call, given: Input) -> Output:
    """Stop a backfill."""
    backfill = await emulator.metadata.write(backfills.stop, call, given["replicationBackfillId"])
    return {**_brief(backfill), "registryId": call.registry.account}


async def list_replication_backfills(emulator: Emulator, call: Call, given: Input) -> Output:
    """List a page of the registry's backfills, the newest first."""
    limit = page_limit(given, _LIST_LIMIT)
    before = start_of_page(emulator, call, "backfills", given, 0) or None
    found = await emulator.metadata.read(backfills.page, call, before, limit + 1)
    page, last = split_page(found, limit)
    return {
        "registryId": call.registry.account,
        "backfills": [_summary(*entry) for entry in page],
        "nextToken": last and next_token(emulator, call, "backfills", last[0].number),
    }


async def describe_replication_backfill_results(emulator: Emulator, call: Call, given: Input) -> Output:
    """Describe a backfill, with a page of its results once it has ended."""
    backfill_id, status, limit = (
        given["replicationBackfillId"],
        given.get("resultStatusFilter"),
        page_limit(given),
    )
    list_name = f"backfill:{backfill_id.lower()}:{status}"
    after = start_of_page(emulator, call, list_name, given, 0)
    backfill, failure_codes, found = await emulator.metadata.read(
        backfills.results, call, backfill_id, status, after, limit + 1
    )
    page, last = split_page(found, limit)
    return {
        **_summary(backfill, failure_codes),
        "registryId": call.registry.account,
        "results": [_result(replication) for replication in page],
        "nextToken": last and next_token(emulator, call, list_name, last.id),
    }
