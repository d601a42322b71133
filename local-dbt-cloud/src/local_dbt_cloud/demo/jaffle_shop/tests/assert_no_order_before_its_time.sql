select
    orders.order_id,
    orders.ordered_date,
    customers.joined_date,
    stores.opened_date,

from {{ ref('orders') }} as orders
inner join {{ ref('customers') }} as customers using (customer_id)
inner join {{ ref('stores') }} as stores using (store_id)

where
    orders.ordered_date < customers.joined_date
    or orders.ordered_date < stores.opened_date
