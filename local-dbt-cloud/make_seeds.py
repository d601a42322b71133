"""Generate the fictional data of the jaffle shop: five seeds and a file of sales targets.

Run this script with Python. The random seed is fixed, so the output is the same each time; change the
constants below for other data. Money is in whole cents.
"""

import csv
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import NamedTuple

DEMO = Path(__file__).resolve().parent / "src" / "local_dbt_cloud" / "demo" / "jaffle_shop"

RANDOM_SEED = 1949
FIRST_DAY = date(2024, 7, 1)
LAST_DAY = date(2025, 12, 31)
CUSTOMERS = 250

# Prices rise on this day; each order item stores the price that was charged.
PRICE_RISE = date(2025, 4, 1)
PERCENT_OF_PRICE_BEFORE = 94

# Monday to Sunday: weekends are busier.
WEEKDAY_WEIGHTS = (0.7, 0.75, 0.85, 0.9, 1.2, 1.7, 1.45)
# Two rushes: breakfast and lunch.
HOUR_WEIGHTS = {7: 4, 8: 9, 9: 8, 10: 5, 11: 7, 12: 11, 13: 9, 14: 5, 15: 4, 16: 2}

# Probabilities.
AWAY_FROM_HOME_STORE = 0.12
PANTRY_ONLY = 0.1
SECOND_JAFFLE = 0.3
WITH_DRINK = 0.65
TWO_OF_A_KIND = 0.15
RETURNED = 0.12
REFUNDED = 0.03


class Store(NamedTuple):
    """A store. Tax is in basis points, to calculate with integers."""

    store_id: int
    name: str
    opened_on: date
    tax_basis_points: int


class Product(NamedTuple):
    """A product. Popularity is a weight among the products of a category."""

    sku: str
    name: str
    category: str
    price: int
    unit_cost: int
    popularity: int


class Habit(NamedTuple):
    """How often a type of customer orders, and how likely they stop."""

    share: float
    orders_per_day: float
    leaves_per_day: float


class Customer(NamedTuple):
    """A row of the customers seed."""

    customer_id: int
    first_name: str
    last_name: str
    joined_on: date


class Item(NamedTuple):
    """A line of an order."""

    sku: str
    quantity: int
    unit_price: int


class Order(NamedTuple):
    """A row of the orders seed, with its lines."""

    customer_id: int
    store_id: int
    ordered_at: datetime
    status: str
    subtotal: int
    tax_paid: int
    order_total: int
    items: tuple[Item, ...]


STORES = (
    Store(1, "Maple Harbor", date(2024, 7, 1), 600),
    Store(2, "Fern Hollow", date(2024, 9, 14), 725),
    Store(3, "Copper Bay", date(2024, 12, 7), 600),
    Store(4, "Juniper Falls", date(2025, 3, 1), 450),
    Store(5, "Lantern Hill", date(2025, 5, 24), 825),
    Store(6, "Birch Point", date(2025, 9, 6), 725),
)

PRODUCTS = (
    Product("JAF-001", "Three Cheese", "jaffle", 890, 290, 20),
    Product("JAF-002", "Ham and Mustard", "jaffle", 950, 340, 16),
    Product("JAF-003", "Mushroom and Thyme", "jaffle", 920, 310, 11),
    Product("JAF-004", "Tomato and Basil", "jaffle", 880, 270, 10),
    Product("JAF-005", "Slow Beef Chili", "jaffle", 1150, 520, 12),
    Product("JAF-006", "Smoky Beans", "jaffle", 860, 240, 8),
    Product("JAF-007", "Apple and Cinnamon", "jaffle", 790, 220, 9),
    Product("JAF-008", "Banana Caramel", "jaffle", 820, 250, 7),
    Product("DRK-001", "Filter Coffee", "drink", 350, 60, 18),
    Product("DRK-002", "Flat White", "drink", 480, 110, 22),
    Product("DRK-003", "Ginger Lemonade", "drink", 460, 120, 9),
    Product("DRK-004", "Iced Peach Tea", "drink", 430, 90, 8),
    Product("PAN-001", "House Coffee Beans", "pantry", 1650, 840, 10),
    Product("PAN-002", "Tomato Relish", "pantry", 920, 390, 7),
    Product("PAN-003", "Cast Iron Jaffle Press", "pantry", 4400, 2750, 3),
)

HABITS = (
    Habit(share=0.06, orders_per_day=0.0, leaves_per_day=1.0),  # joined, never ordered
    Habit(share=0.40, orders_per_day=0.0, leaves_per_day=0.0),  # came once
    Habit(share=0.36, orders_per_day=0.035, leaves_per_day=0.005),  # comes now and then
    Habit(share=0.18, orders_per_day=0.2, leaves_per_day=0.004),  # regular
)

FIRST_NAMES = (
    "Abby", "Bram", "Clio", "Dov", "Edda", "Finn", "Greta", "Hugo", "Inez", "Jory", "Kit", "Lark", "Milo",
    "Nell", "Otis", "Pia", "Quill", "Rhea", "Soren", "Tess", "Una", "Viggo", "Wren", "Yara", "Zeke",
)  # fmt: skip
LAST_NAMES = (
    "Applewick", "Bramblecott", "Cloverdell", "Dapplemoor", "Emberley-Oak", "Fiddlebrook", "Gorsefield",
    "Hazelthorpe", "Inkwater", "Juniperson", "Kettlebank", "Larkmeadow", "Mossgrove", "Nettlebury",
    "Oatfield-Rye", "Pebbleford", "Quincewood", "Rushwater", "Saltmarsh-Lee", "Thistlecombe",
)  # fmt: skip


def days(first: date, last: date) -> Iterable[date]:
    """Every day from the first to the last, both included."""
    return (first + timedelta(days=n) for n in range((last - first).days + 1))


def pick_joined_on(rng: random.Random) -> date:
    """Return a random joining date: later dates and weekends are more likely."""
    span = (LAST_DAY - FIRST_DAY).days + 1
    while True:
        u = rng.random()
        day = FIRST_DAY + timedelta(days=int(span * u * (3 - u) / 2))
        if rng.random() * max(WEEKDAY_WEIGHTS) < WEEKDAY_WEIGHTS[day.weekday()]:
            return day


def make_customers(rng: random.Random) -> list[Customer]:
    """Return customers with unique names, ordered by joining date."""
    names = [(first, last) for first in FIRST_NAMES for last in LAST_NAMES]
    rng.shuffle(names)
    joined = sorted(pick_joined_on(rng) for _ in range(CUSTOMERS))
    return [Customer(n, *names[n], joined_on) for n, joined_on in enumerate(joined, start=1)]


def pick_products(rng: random.Random, category: str, count: int) -> list[Product]:
    """Return different products of a category, weighted by popularity."""
    left = [product for product in PRODUCTS if product.category == category]
    picked = []
    for _ in range(count):
        product = rng.choices(left, [product.popularity for product in left])[0]
        left.remove(product)
        picked.append(product)
    return picked


def make_item(rng: random.Random, product: Product, day: date) -> Item:
    """Return a line of an order with the price of that day, rounded to ten cents."""
    price = product.price
    if day < PRICE_RISE:
        price = price * PERCENT_OF_PRICE_BEFORE // 1000 * 10
    return Item(product.sku, 2 if rng.random() < TWO_OF_A_KIND else 1, price)


def make_order(rng: random.Random, customer_id: int, store: Store, day: date) -> Order:
    """Return an order: a meal, or pantry goods."""
    # Pantry goods can be returned, meals can only be refunded.
    status = "completed"
    if rng.random() < PANTRY_ONLY:
        products = pick_products(rng, "pantry", 1)
        if rng.random() < RETURNED:
            status = "returned"
    else:
        products = pick_products(rng, "jaffle", 2 if rng.random() < SECOND_JAFFLE else 1)
        if rng.random() < WITH_DRINK:
            products += pick_products(rng, "drink", 1)
        if rng.random() < REFUNDED:
            status = "refunded"

    items = tuple(make_item(rng, product, day) for product in products)
    subtotal = sum(item.quantity * item.unit_price for item in items)
    tax_paid = (subtotal * store.tax_basis_points + 5_000) // 10_000
    hour = rng.choices(list(HOUR_WEIGHTS), list(HOUR_WEIGHTS.values()))[0]
    ordered_at = datetime.combine(day, time(hour, rng.randrange(60)))
    return Order(
        customer_id, store.store_id, ordered_at, status, subtotal, tax_paid, subtotal + tax_paid, items
    )


def make_orders(rng: random.Random, customers: Sequence[Customer]) -> list[Order]:
    """Return all orders by time: the first of each customer on the joining date, the rest by habit."""
    orders = []
    for customer in customers:
        home = rng.choice([store for store in STORES if store.opened_on <= customer.joined_on])
        habit = rng.choices(HABITS, [habit.share for habit in HABITS])[0]
        for day in days(customer.joined_on, LAST_DAY):
            if rng.random() < habit.leaves_per_day:
                break
            chance = habit.orders_per_day * WEEKDAY_WEIGHTS[day.weekday()]
            if day == customer.joined_on or rng.random() < chance:
                store = home
                if rng.random() < AWAY_FROM_HOME_STORE:
                    store = rng.choice([store for store in STORES if store.opened_on <= day])
                orders.append(make_order(rng, customer.customer_id, store, day))
    return sorted(orders, key=lambda order: (order.ordered_at, order.customer_id))


def make_targets(orders: Sequence[Order]) -> Iterable[Sequence[object]]:
    """Return a target in dollars per store and month: five percent above the previous month."""
    revenue: defaultdict[tuple[int, date], int] = defaultdict(int)
    for order in orders:
        if order.status == "completed":
            revenue[order.store_id, order.ordered_at.date().replace(day=1)] += order.subtotal
    for month in (day for day in days(FIRST_DAY, LAST_DAY) if day.day == 1):
        month_before = (month - timedelta(days=1)).replace(day=1)
        for store in STORES:
            if store.opened_on.replace(day=1) <= month:
                dollars = revenue[store.store_id, month_before] * 105 // 10_000
                yield store.store_id, month, max(150, dollars // 10 * 10), datetime.combine(month, time(9))


def write_csv(name: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
    """Write a file of the demo, with the same line endings on all systems."""
    with (DEMO / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns.split())
        writer.writerows(rows)


def main() -> None:
    """Generate and write all files."""
    rng = random.Random(RANDOM_SEED)  # noqa: S311 - fictional data, no secrets
    customers = make_customers(rng)
    orders = make_orders(rng, customers)
    items = [(n, *item) for n, order in enumerate(orders, start=1) for item in order.items]

    write_csv("seeds/raw_customers.csv", "id first_name last_name joined_on", customers)
    write_csv(
        "seeds/raw_stores.csv",
        "id name opened_on tax_rate",
        ((*store[:3], f"{store.tax_basis_points / 10_000:.4f}") for store in STORES),
    )
    write_csv(
        "seeds/raw_products.csv",
        "sku name category price unit_cost",
        (product[:5] for product in PRODUCTS),
    )
    write_csv(
        "seeds/raw_orders.csv",
        "id customer_id store_id ordered_at status subtotal tax_paid order_total",
        ((n, *order[:-1]) for n, order in enumerate(orders, start=1)),
    )
    write_csv(
        "seeds/raw_items.csv",
        "id order_id sku quantity unit_price",
        ((n, *item) for n, item in enumerate(items, start=1)),
    )
    write_csv("data/store_targets.csv", "store_id month revenue_target published_at", make_targets(orders))


if __name__ == "__main__":
    main()
