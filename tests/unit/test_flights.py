"""Single flight: one piece of work for all who want it at the same time."""

import asyncio

import pytest

from ecr_emulator.core.flights import Flights


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_all_who_wait_get_the_result_of_one_flight():
    async def scenario():
        flights, started, gate = Flights(), [], asyncio.Event()

        async def work():
            started.append(True)
            await gate.wait()
            return len(started)

        waiting = [asyncio.create_task(flights.join("key", work)) for _ in range(3)]
        await settle()
        gate.set()
        assert await asyncio.gather(*waiting) == [1, 1, 1]
        assert await flights.join("key", work) == 2
        assert await flights.join("other", work) == 3

    asyncio.run(scenario())


def test_all_who_wait_get_its_exception():
    async def scenario():
        flights = Flights()

        async def work():
            await asyncio.sleep(0)
            raise ValueError("no")

        waiting = [asyncio.create_task(flights.join("key", work)) for _ in range(2)]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["no", "no"]

    asyncio.run(scenario())


def test_a_flight_outlives_who_started_it():
    async def scenario():
        flights, gate, done = Flights(), asyncio.Event(), []

        async def work():
            await gate.wait()
            done.append(True)

        waiting = asyncio.create_task(flights.join("key", work))
        await settle()
        waiting.cancel()
        await settle()
        gate.set()
        await settle()
        assert done == [True]

    asyncio.run(scenario())


def test_flights_can_be_ended():
    async def scenario():
        flights = Flights()
        waiting = asyncio.create_task(flights.join("key", asyncio.Event().wait))
        await settle()
        await flights.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await flights.cancel()

    asyncio.run(scenario())


def test_work_can_be_begun_and_waited_for_by_those_who_do_not_want_its_result():
    async def scenario():
        flights, gate, done = Flights(), asyncio.Event(), []

        async def work():
            await gate.wait()
            done.append(1)
            raise LookupError

        first = flights.begin("key", work)
        assert flights.begin("key", work) is first
        await flights.settle("other")
        asyncio.get_running_loop().call_soon(gate.set)
        await flights.settle("key")
        assert done == [1]

    asyncio.run(scenario())
